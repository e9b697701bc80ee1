package host

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	const tail = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 98765 20 21"
	for name, text := range map[string]string{
		"plain":                 "42 (sleep)" + tail,
		"parentheses and blank": "42 (a) R (b)" + tail,
	} {
		state, start, err := parseStat([]byte(text))
		require.NoError(t, err, name)
		assert.Equal(t, byte('S'), state, name)
		assert.EqualValues(t, 98765, start, name)
	}
	for _, text := range []string{"", "42 sleep S 1", "42 (sleep) S 1 2"} {
		_, _, err := parseStat([]byte(text))
		assert.Error(t, err, "%q", text)
	}
}

func startSleep(t *testing.T) (*exec.Cmd, Process) {
	cmd := exec.Command("sleep", "60")
	require.NoError(t, cmd.Start())
	process, err := Identify(cmd.Process.Pid)
	require.NoError(t, err)
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, process
}

func TestStopEndsTheProcess(t *testing.T) {
	cmd, process := startSleep(t)
	require.True(t, process.Alive())
	rss, err := process.RSS()
	require.NoError(t, err)
	assert.NotZero(t, rss)
	go func() { _ = cmd.Wait() }()
	require.NoError(t, process.Stop(5*time.Second))
	assert.False(t, process.Alive())
}

func TestZombieIsNotAlive(t *testing.T) {
	cmd, process := startSleep(t)
	require.NoError(t, cmd.Process.Kill())
	assert.Eventually(t, func() bool { return !process.Alive() }, 5*time.Second, 10*time.Millisecond)
	assert.Error(t, cmd.Wait(), "it was killed")
}

func TestStopSparesAnotherProcessWithTheSamePID(t *testing.T) {
	_, process := startSleep(t)
	for name, other := range map[string]Process{
		"another start":  {PID: process.PID, Start: process.Start + 1, Boot: process.Boot},
		"another boot":   {PID: process.PID, Start: process.Start, Boot: "earlier"},
		"nothing at all": {},
	} {
		assert.False(t, other.Alive(), name)
		require.NoError(t, other.Stop(time.Second), name)
	}
	assert.True(t, process.Alive())
}

func TestLockIsExclusive(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sub", "lock")
	unlock, err := Lock(t.Context(), file, func(string) { t.Error("nobody holds it") })
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var holder string
	_, err = Lock(ctx, file, func(who string) { holder = who })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Contains(t, holder, "pid ")
	unlock()
	unlock, err = Lock(t.Context(), file, func(string) { t.Error("nobody holds it any more") })
	require.NoError(t, err)
	unlock()
}

func TestRemovalsTakeOnlyOurs(t *testing.T) {
	const listing = `-P INPUT ACCEPT
-P FORWARD DROP
-N DOCKER
-N KUBE-SERVICES
-N CNI-HOSTPORT-DNAT
-A INPUT -p tcp --dport 22 -j ACCEPT
-A FORWARD -j DOCKER
-A FORWARD -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -s 10.244.0.0/24 -m comment --comment "elastichub localcluster" -j ACCEPT
-A FORWARD -m comment --comment "mentions KUBE-SERVICES only" -j ACCEPT
-A DOCKER -j RETURN
-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC-X
`
	assert.Equal(t, []string{
		`-D FORWARD -m comment --comment "kubernetes service portals" -j KUBE-SERVICES`,
		`-D FORWARD -s 10.244.0.0/24 -m comment --comment "elastichub localcluster" -j ACCEPT`,
		"-F KUBE-SERVICES", "-F CNI-HOSTPORT-DNAT",
		"-X KUBE-SERVICES", "-X CNI-HOSTPORT-DNAT",
	}, removals(listing))
}

func TestMountsBelow(t *testing.T) {
	const info = `21 1 8:1 / / rw - ext4 /dev/a rw
30 21 0:5 / /state rw - tmpfs tmpfs rw
31 30 0:5 / /state/a\040b rw - tmpfs tmpfs rw
32 21 0:5 / /state-of-others rw - tmpfs tmpfs rw
`
	assert.Equal(t, []string{"/state", "/state/a b"}, mountsBelow(info, "/state"))
}

func TestDirectoriesFollowTheEnvironment(t *testing.T) {
	t.Setenv("HOME", "/home/ada")
	t.Setenv("ELASTICHUB_STATE", "")
	t.Setenv("XDG_STATE_HOME", "")
	for _, step := range []struct{ variable, value, want string }{
		{"HOME", "/home/ada", "/home/ada/.local/state/elastichub"},
		{"XDG_STATE_HOME", "/xdg", "/xdg/elastichub"},
		{"ELASTICHUB_STATE", "/own", "/own"},
	} {
		t.Setenv(step.variable, step.value)
		dir, err := StateDir()
		require.NoError(t, err)
		assert.Equal(t, step.want, dir)
	}
}

func TestWriteFileReplaces(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	require.NoError(t, WriteFile(file, []byte("old"), 0o644))
	require.NoError(t, WriteFile(file, []byte("new"), 0o600))
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "new", string(data))
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.EqualValues(t, 0o600, info.Mode().Perm())
	entries, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	assert.Len(t, entries, 1, "no temporary file stays")
}

func TestLastLines(t *testing.T) {
	assert.Equal(t, "b\nc", LastLines("a\nb\nc\n", 2))
	assert.Equal(t, "a", LastLines("a", 2))
}
