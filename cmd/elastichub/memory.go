package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// controlGroup is where a container sees what its control group allows it.
const controlGroup = "/sys/fs/cgroup"

// limitMemory returns how much memory the process may use, in bytes: GOMEMLIMIT,
// or nine tenths of what the control group below root allows, which it then
// tells the garbage collector. Without either it is as good as infinite.
func limitMemory(root string) int64 {
	limit := debug.SetMemoryLimit(-1)
	for _, file := range []string{"memory.max", "memory/memory.limit_in_bytes"} { // version 2, 1
		raw, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			continue
		}
		if group, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64); err == nil && group/10*9 < limit { // "max" is no limit
			limit = group / 10 * 9
			debug.SetMemoryLimit(limit)
		}
	}
	return limit
}
