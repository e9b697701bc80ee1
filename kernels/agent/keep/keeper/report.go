package keeper

import "encoding/json"

// Work is something of the user's that goes on beside the cells.
type Work struct {
	Kind string `json:"kind"` // thread, task or process
	Name string `json:"name"`
}

// Thing is something that is not as it was, and why.
type Thing struct {
	Name string `json:"name"` // of a variable, or of what is in or beside one
	Type string `json:"type"`
	Why  string `json:"why,omitempty"`
	What string `json:"what,omitempty"` // is made anew
	Cell *int   `json:"cell,omitempty"` // that made it
	More int    `json:"more,omitempty"` // things that are not named
}

// Report is what a kernel says of a save or of a load: docs/parking-format.md has
// the words.
type Report struct {
	Outcome   string  `json:"outcome"`
	Error     string  `json:"error"`
	Whole     bool    `json:"whole"` // of a save
	Variables int     `json:"variables"`
	Bytes     int64   `json:"bytes"`
	Seconds   float64 `json:"seconds"`
	Lost      []Thing `json:"lost"`
	Holes     []Thing `json:"holes"`
	Skipped   []Thing `json:"skipped"`
	StillLost []Thing `json:"still_lost"`
	StateLost []Thing `json:"state_lost"` // of a save
	Again     []Thing `json:"again"`
	Failed    []Thing `json:"failed"`  // of a load
	Changed   []Thing `json:"changed"` // of a load
	Notes     []string
	Debugger  Debugger `json:"debugger"` // of a load
}

// Debugger is how one is set again that was on when the state was saved.
type Debugger struct {
	Requests []json.RawMessage `json:"requests"` // contents of debug_requests, in their order
	Why      string            `json:"why"`      // it is not
}

// Outcomes of a report that mean success.
const (
	outcomeSaved  = "saved"
	outcomeLoaded = "loaded"
)
