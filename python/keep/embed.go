// Package keep holds the Python that writes the state of a kernel as one
// stream and loads it again. The agent puts Files into a directory that the
// kernel can read, and asks for the rest by silent requests on the shell
// channel: docs/parking-format.md has the expressions, frames and reports.
package keep

import "embed"

// Files are boot.py, the package beside it, and the licence of what is
// vendored in it.
//
//go:embed *.py LICENSE.cloudpickle
var Files embed.FS
