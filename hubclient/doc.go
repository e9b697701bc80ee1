// Package hubclient is the one client of JupyterHub's REST API. It acts by the token
// of a Hub service, which it reads from a file for every request, or asks whose
// somebody else's token is.
package hubclient
