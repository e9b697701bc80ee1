package agent

import (
	"os"
	"os/exec"
	"strings"
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
		p, err := startProcess([]string{"sh", "-c", "(sleep 0.05; exit 7) & exit " + string(rune('0'+code%10))}, os.Environ(), &out, &r)
		require.NoError(t, err)
		require.True(t, p.exited(5*time.Second))
		assert.Equal(t, code%10, p.exitCode(), "nobody stole the wait")
		_ = p.output.Close()
	}
	assert.Eventually(t, func() bool {
		_, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		return err == unix.ECHILD
	}, 5*time.Second, 20*time.Millisecond, "no orphan is left")
}
