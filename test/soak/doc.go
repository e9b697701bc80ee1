// Package soak has a release live long: real processes of the service and of gateways on a real API server, and agents
// with kernels. There is no kubelet and no controller manager: Pods of kernels and the garbage collector are played, and
// notebooks have objects and no Pods. SOAK_CYCLES says how long; from 100 on clocks are moved, too.
package soak
