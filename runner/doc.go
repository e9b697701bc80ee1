// Package runner runs notebooks and programs on kernels of a notebook server, from
// outside of it: through JupyterHub's proxy, by the server's REST API and its channels.
//
//	Find ─▶ Start, if it does not run ─┬▶ Run: session, cells one after the other, end
//	                                   └▶ Detach: upload, all cells at once ─▶ Logs
//
// A run that is waited for has a session without a document, which ends with it. One that
// is not has a document below elastichub-runs, into which the server itself writes what
// the cells print: see docs/notebook-image.md, "A page that is closed".
package runner
