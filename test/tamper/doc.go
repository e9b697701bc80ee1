// Package tamper runs programs of kernels' owners who want to keep what their
// kernel holds, in real Pods beside the demo that `make run` started, and
// measures what they hold longer than their work and their idle time. Its test
// needs the build tag e2e and root, as the demo does.
package tamper
