// Package admission decides which waiting kernels get a Pod now.
//
// It is pure: Decide looks at everything that holds or wants something and
// returns who is admitted, who is refused, and where the others stand. It is
// meant for one caller at a time. Exactness needs two things of that caller:
// that it counts what it has admitted and its cache does not show yet (Assumed),
// and that a new leader reads the API server itself before it first decides.
//
// # Order
//
// Requests belong to the group of their first policy. The next request is
// always the oldest of the group that holds least for its weight, among those of the
// highest priority: an administrator has moved these, or others behind them. A request
// that its user's own quota stops is passed over. One that waits for capacity
// (the pool of its policy, or the nodes) is passed over too, but what it needs
// is set aside, so that a stream of smaller requests cannot starve it. One that
// no node could ever satisfy sets nothing aside.
//
// A node that an autoscaler can add is one like others, but the last to be used: a
// request is admitted to it, so that its Pod waits where the autoscaler sees it, and
// never more of them than the autoscaler may add nodes for.
//
// One whose user's groups cannot be told now waits and sets nothing aside either;
// one whose user has lost them is refused.
//
// # Several policies
//
// A request may name several policies. The per-user and per-kernel limits that
// apply are the most generous ones among them; the pool and the weight are
// those of the first, which it is accounted to.
package admission
