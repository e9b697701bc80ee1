// Package adapters holds what writes the state of kernels of R and of Bash as a
// stream, and loads it again; python/keep does so for Python. The agent asks by
// silent requests: docs/parking-format.md.
package adapters

import "embed"

// Files are read by the kernel, from the directory in which they are installed.
//
//go:embed keep.R keep.sh subshell.sh
var Files embed.FS
