// Package devices counts what the scheduler allocates by claims (dynamic resource
// allocation, resource.k8s.io/v1), where a DeviceClass answers for an extended resource
// (KEP-5004): per node and resource, how many devices there are and how many are taken.
//
//	DeviceClasses ─▶ selectors ─┐
//	ResourceSlices ─────────────┴▶ devices of each node ─┐
//	ResourceClaims ─▶ what is allocated, and to whom ────┴▶ Counts
//
// It is pure. What cannot be counted is never guessed: it is in Counts.Uncounted, with
// the reason.
//
// Selectors are expressions in CEL. Those that are read here compare device.driver and
// device.attributes with literals, by == and !=, joined by && and ||, which is how
// drivers select their devices. The whole language would more than double what the
// binary links of other people's code for that, and what is beyond it (quantities,
// semantic versions) can be said by an attribute.
package devices
