// Package holdings says who holds what, who waits for what, and until when: kernels,
// servers, the queue and sums, as values made from the objects of a namespace without
// any I/O. Their JSON is that of /api/v1.
package holdings
