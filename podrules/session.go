package podrules

// EnvSession is the document that a kernel was started for, as ipykernel reads it:
// its path as the notebook server has it.
const EnvSession = "JPY_SESSION_NAME"
