// Package offers tells what there is to lend: the kernelspecs of a gateway that a
// person may have, what their kernels take, what is free and who holds it. It
// answers from caches, on any replica; the form shows it.
package offers
