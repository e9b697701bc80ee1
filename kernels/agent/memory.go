package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// cgroupRoot is where a container sees its own control group (version 2).
const cgroupRoot = "/sys/fs/cgroup"

// memory reads what the container's control group tells of its memory.
type memory struct{ root string }

// kills is how often the kernel of the machine has killed a process of the
// container for want of memory; 0 where that cannot be read.
func (m memory) kills() uint64 {
	raw, err := os.ReadFile(filepath.Join(m.root, "memory.events"))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(raw) {
		if count, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			n, _ := strconv.ParseUint(string(bytes.TrimSpace(count)), 10, 64)
			return n
		}
	}
	return 0
}

// limit says how much memory there is, or "".
func (m memory) limit() string {
	raw, err := os.ReadFile(filepath.Join(m.root, "memory.max"))
	if err != nil {
		return ""
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(raw)), 10, 64)
	if err != nil {
		return "" // "max"
	}
	return fmt.Sprintf(" of %.1f GiB", float64(n)/(1<<30))
}
