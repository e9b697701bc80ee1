// Package prepull has the images of servers and kernels on the nodes before anybody needs
// them (docs/adr/0014). What is wanted follows from policies and kernelspecs alone:
//
//	gather ──▶ PlanOf ──▶ DaemonSets, one for each placement
//	             │            │ its Pods: one for each node, a container for each image
//	             │            ▼
//	             │        NextTurn: whose turn it is, so many nodes at a time
//	             ▼            │
//	         imagestate ◀─────┘  how far each image is, for people and for Prometheus
//
// The leader of `elastichub serve` writes; every replica can tell how far it is.
package prepull
