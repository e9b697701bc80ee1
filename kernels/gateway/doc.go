// Package gateway serves Jupyter's kernel REST and WebSocket API to notebook
// servers: `elastichub gateway`.
//
// It is stateless: kernels are JupyterKernel objects, and any replica serves
// any of them. One process works for one JupyterGateway of one namespace; it
// meets the controllers only in those objects, and the kernels only through
// their agents (docs/agent-protocol.md).
//
// # Flows
//
// A request: authenticate → find what the caller may see → call → render.
// Every error becomes a status and a {"reason","message"} body in errors.go.
//
// A kernel start: POST writes a JupyterKernel and answers 201 at once, because
// jupyter_server gives up after about 42 s and then never learns the id, while
// a GPU can take minutes.
//
// A channels WebSocket (socket.go) is accepted in every phase of its kernel.
// It has at most one link to the kernel's agent; what the client sends while
// there is none is held.
//
//	                 ┌──────────── dial as soon as status.podIP is known ──────────┐
//	                 │                                                             ▼
//	no link ── Queued ── Starting ── Ready                                       linked
//	   ▲                                                                           │
//	   │   execute_request: spec.run = status.run+1     Parked, Dead ◀── agent ends┘
//	   └────────────────────────────────────────────────────┘
//
// decide.go holds the rules as a pure function; notice.go what the user reads
// in the output of the waiting cell.
//
// # Who sees a kernel
//
// The owner of a kernel is the Hub user (JupyterNotebook spec.user, or the name
// of a client in JupyterGateway spec.auth), so a user's servers see each
// other's kernels; jupyter_server shows only those it started. A notebook
// without a user owns its kernels by its own name, which never equals a
// user's. Everybody else's kernel is 404.
//
// # What is never sent
//
// An unpatched jupyter_server dies of the first binary frame from a gateway and
// disconnects at frames over 10 MiB. A client that did not negotiate the v1
// subprotocol therefore gets text frames only; buffers are left out and too
// large messages are replaced, and the user reads that in the cell. JupyterLab
// disposes a kernel connection at `status: dead` and then can neither run nor
// restart, so that state is sent only when the kernel is deleted: a dead
// kernel, like a parked one, comes back with the next execute_request.
package gateway
