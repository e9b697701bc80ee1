// Package podrules holds what every Pod of elastichub obeys, whether it runs a
// notebook server or a kernel: which templates are refused, what is filled in,
// how names become labels, how values become environment, and where a
// notebook's volumes are mounted. It reads and changes objects in memory only.
//
// Whoever may write a JupyterNotebook or a kernel's template may be allowed
// less than the controllers that make the Pod. What would lend them the
// controllers' rights over nodes and identities is refused, not dropped.
package podrules
