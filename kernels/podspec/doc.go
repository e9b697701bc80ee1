// Package podspec makes the Pod of a kernel, and its Secret, from everything that
// has a say in it.
//
//	kernel ─▶ Gather ─▶ Parts ─▶ Build ─▶ Pod, not created yet
//	          gateway, kernelspec, template, notebook, policies
//
// Gather reads, Build decides; the same Parts make the same Pod. What is missing
// is a *MissingError and may come yet; what can never work is an *InvalidError
// and names the field. A warm Pod is one that is nobody's; see warm.go.
package podspec
