// Package imagestate tells how far the images that are pulled before anybody needs them
// have come, from the Pods that pull them: pure, and the same for the console, for its API
// and for Prometheus.
package imagestate
