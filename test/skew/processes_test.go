package skew

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// descendants are the processes that one has begun, and those that these have.
func descendants(pid int) (all []int) {
	children := map[int][]int{}
	found, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range found {
		stat, _ := os.ReadFile(file) // it may have ended
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // its name may have anything
		if err != nil || len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	for next := children[pid]; len(next) > 0; next = next[1:] {
		all, next = append(all, next[0]), append(next, children[next[0]]...)
	}
	return all
}

// leavesNothing asserts that no process runs that was begun with a file below dir.
func leavesNothing(t *testing.T, dir string) {
	t.Helper()
	assert.Eventually(t, func() bool { return len(begunWith(dir)) == 0 }, 10*time.Second, often, "processes are left")
	for _, command := range begunWith(dir) {
		t.Log(command)
	}
}

func begunWith(dir string) (all []string) {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range found {
		command, _ := os.ReadFile(file)
		if bytes.Contains(command, []byte(dir)) {
			all = append(all, strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return all
}
