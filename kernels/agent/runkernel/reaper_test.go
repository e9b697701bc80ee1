package runkernel

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const envReaper = "AGENT_TEST_REAPER"

// TestReaper runs the test below in a process of its own, which adopts orphans as pid 1 does.
func TestReaper(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestReaperChild$", "-test.v")
	cmd.Env = append(os.Environ(), envReaper+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "--- PASS: TestReaperChild")
}

func TestReaperChild(t *testing.T) {
	if os.Getenv(envReaper) == "" {
		t.SkipNow() // not a test of its own; TestReaper runs it
	}
	require.NoError(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	var r reaper
	r.run()
	defer r.stop()
	// Each child leaves an orphan that ends after it, and has an exit code of its own.
	for code := range 20 {
		var out strings.Builder
		p, err := startProcess([]string{"sh", "-c", "(sleep 0.05; exit 7) & exit " + string(rune('0'+code%10))}, os.Environ(), "", &out, &r)
		require.NoError(t, err)
		require.True(t, ended(p))
		assert.Equal(t, code%10, p.exited().ExitCode, "nobody stole the wait")
		_ = p.output.Close()
	}
	assert.Eventually(t, func() bool {
		_, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		return err == unix.ECHILD
	}, 30*time.Second, 20*time.Millisecond, "no orphan is left")
}

const envFirst = "AGENT_TEST_FIRST"

// TestNothingOutlivesTheKernel runs the test below as the first process of a
// PID namespace, as the agent is in a container.
func TestNothingOutlivesTheKernel(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestNothingOutlivesTheKernelChild$", "-test.v")
	cmd.Env = append(os.Environ(), envFirst+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "--- PASS: TestNothingOutlivesTheKernelChild")
}

func TestNothingOutlivesTheKernelChild(t *testing.T) {
	if os.Getenv(envFirst) == "" {
		t.SkipNow() // not a test of its own; TestNothingOutlivesTheKernel runs it
	}
	require.Equal(t, 1, os.Getpid())
	var r reaper
	r.run()
	defer r.stop()
	out := filepath.Join(t.TempDir(), "pid")
	p, err := startProcess([]string{"setsid", "--fork", "sh", "-c", "echo $$ >" + out + "; exec sleep 1000"}, os.Environ(), "", io.Discard, &r)
	require.NoError(t, err)
	require.True(t, ended(p))
	var child int
	require.Eventually(t, func() bool {
		raw, _ := os.ReadFile(out)
		child, _ = strconv.Atoi(strings.TrimSpace(string(raw)))
		return child > 0
	}, 30*time.Second, 5*time.Millisecond)
	require.NoError(t, unix.Kill(child, 0), "it has left the kernel's session and group")
	p.clean()
	assert.Eventually(t, func() bool { return unix.Kill(child, 0) == unix.ESRCH }, 30*time.Second, 5*time.Millisecond)
}

func ended(p *process) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(5 * time.Second):
		return false
	}
}
