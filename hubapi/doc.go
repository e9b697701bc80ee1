// Package hubapi is what JupyterHub calls: the external spawner API under
// /api/spawner/v1. It parses, asks groups, forms and spawner, and renders;
// it decides nothing itself. openapi.yaml is the contract with the Hub's side.
//
//	options_form      GET    /users/{user}/form            groups → web
//	options_from_form POST   /users/{user}/options         groups → forms
//	REST callers      POST   /users/{user}/options/check   groups → forms
//	start             PUT    /users/{user}/server          groups → forms → spawner
//	progress          GET    /users/{user}/server/events   spawner, as SSE
//	poll              GET    /servers                      spawner, all at once
//	stop              DELETE /users/{user}/server          spawner
//
// Whoever holds the bearer token acts for every user: it is the Hub's alone.
package hubapi
