package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// cgroupRoot is where a container sees its own control group.
const cgroupRoot = "/sys/fs/cgroup"

// memory reads what the container's control group tells of its memory, in
// version 2 or 1 of the interface.
type memory struct{ root string }

func (m memory) read(v2, v1 string) ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(m.root, v2))
	if errors.Is(err, fs.ErrNotExist) {
		return os.ReadFile(filepath.Join(m.root, "memory", v1))
	}
	return raw, err
}

// kills is how often the kernel of the machine has killed a process of the
// container for want of memory; 0 where that cannot be read.
func (m memory) kills() uint64 {
	raw, err := m.read("memory.events", "memory.oom_control")
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

// noLimit is less than what version 1 says where there is none.
const noLimit = 1 << 60

// limit says how much memory there is, or "".
func (m memory) limit() string {
	raw, err := m.read("memory.max", "memory.limit_in_bytes")
	if err != nil {
		return ""
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(raw)), 10, 64)
	if err != nil || n > noLimit {
		return "" // "max" in version 2
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
