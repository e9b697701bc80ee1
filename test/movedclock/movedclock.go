// Package movedclock builds elastichub with clocks that a test moves while it runs: below all of its code, in Go's own
// runtime, so that whatever reads a clock or waits for a time is moved, of this module and of all others. Other
// programs, as API servers and kernels, are not.
package movedclock

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "embed"

	"github.com/stretchr/testify/require"
)

// Variable names the file that a process of Build reads its clocks from.
const Variable = "MOVED_CLOCK"

//go:embed clock.go.txt
var program string

// change is of a file of Go's sources.
type change struct{ file, from, to string }

var changes = []change{
	{"runtime/time_nofake.go", "\treturn nanotime1()\n", "\treturn nanotime1() + elastichubNanoShift\n"},
	{"runtime/time_nofake.go", "import \"unsafe\"\n", "import \"unsafe\"\n\n//go:linkname elastichubWallShift\nvar elastichubWallShift int64\n\n//go:linkname elastichubNanoShift\nvar elastichubNanoShift int64\n"},
	{"time/time.go", "\tsec, nsec, mono := runtimeNow()\n", "\tsec, nsec, mono := runtimeNow()\n" + `	if mono != 0 {
		moved := elastichubNanoShift
		sec += elastichubWallShift + moved/1e9
		nsec += int32(moved % 1e9)
		if nsec >= 1e9 {
			sec, nsec = sec+1, nsec-1e9
		}
		mono += moved
	}
`},
	{"time/time.go", "//go:linkname runtimeIsBubbled\n", "//go:linkname elastichubWallShift runtime.elastichubWallShift\nvar elastichubWallShift int64\n\n//go:linkname elastichubNanoShift runtime.elastichubNanoShift\nvar elastichubNanoShift int64\n\n//go:linkname runtimeIsBubbled\n"},
}

// Build builds the elastichub of a tree. The first time it compiles all there is, in minutes.
func Build(t testing.TB, tree string) (binary string) {
	t.Helper()
	dir := t.TempDir()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	sources := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	replaced := map[string]string{}
	for _, c := range changes {
		from := filepath.Join(sources, filepath.FromSlash(c.file))
		at := replaced[from]
		if at == "" {
			at = filepath.Join(dir, strings.ReplaceAll(c.file, "/", "-"))
			raw, err := os.ReadFile(from)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(at, raw, 0o600))
			replaced[from] = at
		}
		raw, err := os.ReadFile(at)
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(raw), c.from), "%s of this Go has not once: %s", c.file, c.from)
		require.NoError(t, os.WriteFile(at, []byte(strings.Replace(string(raw), c.from, c.to, 1)), 0o600))
	}
	added := filepath.Join(dir, "clock.go")
	require.NoError(t, os.WriteFile(added, []byte(program), 0o600))
	replaced[filepath.Join(tree, "cmd", "elastichub", "movedclock.go")] = added
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))
	binary = filepath.Join(dir, "elastichub")
	command := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, "./cmd/elastichub")
	command.Dir = tree
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
	return binary
}

// Clock moves the clocks of the processes that are given its File as Variable.
type Clock struct {
	File string

	mu           sync.Mutex
	step, passed time.Duration
}

// New has not been moved.
func New(t testing.TB) *Clock {
	t.Helper()
	c := &Clock{File: filepath.Join(t.TempDir(), "clock")}
	c.write(t)
	return c
}

// Pass has time pass, on the clock that only goes on as on the wall clock.
func (c *Clock) Pass(t testing.TB, d time.Duration) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed += d
	c.write(t)
}

// Step makes the wall clock wrong by d, and it alone; by 0 it is right again.
func (c *Clock) Step(t testing.TB, d time.Duration) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step = d
	c.write(t)
}

// Now is what processes take for the present.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.step + c.passed)
}

func (c *Clock) write(t testing.TB) {
	next := c.File + ".new"
	require.NoError(t, os.WriteFile(next, fmt.Appendf(nil, "%d %d\n", int64(c.step/time.Second), int64(c.passed)), 0o600))
	require.NoError(t, os.Rename(next, c.File))
}
