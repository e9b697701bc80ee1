package runkernel

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// cgroup reads what a container's control group tells, in version 2 or 1 of
// the interface, below the directory where the container sees it.
type cgroup string

// first is the content of the first of these files that can be read, and which that is.
func (g cgroup) first(files ...string) (content []byte, which int) {
	for i, file := range files {
		if raw, err := os.ReadFile(filepath.Join(string(g), file)); err == nil {
			return raw, i
		}
	}
	return nil, -1
}

func (g cgroup) usage() protocol.Usage {
	return protocol.Usage{CPUSeconds: g.cpu().Seconds(), MemoryKills: g.kills(), MemoryLimit: g.limit()}
}

// cpu is how much time all processes together have computed.
func (g cgroup) cpu() time.Duration {
	raw, which := g.first("cpu.stat", "cpuacct/cpuacct.usage", "cpu,cpuacct/cpuacct.usage")
	switch which {
	case 0:
		return time.Duration(member(raw, "usage_usec")) * time.Microsecond
	case 1, 2:
		return time.Duration(number(raw))
	}
	return 0
}

// kills is how often the kernel of the machine has killed a process of the
// container for want of memory.
func (g cgroup) kills() uint64 {
	raw, _ := g.first("memory.events", "memory/memory.oom_control")
	return member(raw, "oom_kill")
}

// noLimit is less than what version 1 says where there is none.
const noLimit = 1 << 60

// limit is how many bytes of memory there are; 0: no limit.
func (g cgroup) limit() uint64 {
	raw, _ := g.first("memory.max", "memory/memory.limit_in_bytes")
	if n := number(raw); n < noLimit { // "max", in version 2, is no number
		return n
	}
	return 0
}

// cores are how many processors' time the container may use, a part of one
// rounded up; 0: no limit.
func (g cgroup) cores() int {
	quota, period := uint64(0), uint64(0)
	if raw, which := g.first("cpu.max"); which == 0 {
		if fields := bytes.Fields(raw); len(fields) == 2 { // "max", where there is no limit, is no number
			quota, period = number(fields[0]), number(fields[1])
		}
	} else {
		raw, _ = g.first("cpu/cpu.cfs_quota_us", "cpu,cpuacct/cpu.cfs_quota_us")
		quota = number(raw) // -1, where there is no limit, is none either
		raw, _ = g.first("cpu/cpu.cfs_period_us", "cpu,cpuacct/cpu.cfs_period_us")
		period = number(raw)
	}
	if quota == 0 || period == 0 {
		return 0
	}
	return int((quota + period - 1) / period)
}

// member is the number after a name at the beginning of a line.
func member(raw []byte, name string) uint64 {
	for line := range bytes.Lines(raw) {
		if value, ok := bytes.CutPrefix(line, []byte(name+" ")); ok {
			return number(value)
		}
	}
	return 0
}

func number(raw []byte) uint64 {
	n, err := strconv.ParseUint(string(bytes.TrimSpace(raw)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
