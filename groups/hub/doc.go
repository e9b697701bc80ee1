// Package hub has the two groups.Source that know JupyterHub's own groups.
//
//	ElasticSpawner ─ groups ─▶ Sent (remembered, in memory only) ─▶ Membership
//	API ─ GET /users/{name} ─▶ JupyterHub's REST API ─────────────▶ Membership
package hub
