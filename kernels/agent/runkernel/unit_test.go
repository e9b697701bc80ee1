package runkernel

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

func TestKernelEnv(t *testing.T) {
	quiet := "PYDEVD_DISABLE_FILE_VALIDATION=1"
	assert.Equal(t, []string{quiet, "A=1", "ELASTICHUB_KERNEL_ID=k", "JPY_PARENT_PIDX=1"},
		kernelEnv([]string{"A=1", "ELASTICHUB_AGENT_KEY_FILE=/k", "ELASTICHUB_KERNEL_ID=k", "JPY_PARENT_PID=1", "JPY_PARENT_PIDX=1"}, 0))
	own := "PYDEVD_DISABLE_FILE_VALIDATION=0"
	assert.Equal(t, []string{quiet, own}, kernelEnv([]string{own}, 0), "the last one counts")
	env := kernelEnv([]string{"OMP_NUM_THREADS=8"}, 2)
	assert.Contains(t, env, "MKL_NUM_THREADS=2")
	assert.Less(t, slices.Index(env, "OMP_NUM_THREADS=2"), slices.Index(env, "OMP_NUM_THREADS=8"), "what the environment says is the last")
}

func TestFillCommand(t *testing.T) {
	assert.Equal(t, []string{"python", "-f", "/c", "--x=/c:/c"},
		fillCommand([]string{"python", "-f", "{connection_file}", "--x={connection_file}:{connection_file}"}, "/c"))
}

func TestPump(t *testing.T) {
	long := strings.Repeat("l", 3*lineBytes)
	var out strings.Builder
	var last tail
	pump(strings.NewReader("one\n"+long+"\ntwo\n\nno newline"), &out, &last)
	assert.Equal(t, "one\n"+long[:lineBytes]+" …\ntwo\n\nno newline\n", out.String())
	assert.LessOrEqual(t, len(last.String()), tailBytes)
	assert.Equal(t, "two\n\nno newline", last.String(), "begins at a whole line")

	var bytes tail
	pump(strings.NewReader("\xff\xfe bad\n"), &strings.Builder{}, &bytes)
	assert.Equal(t, "\uFFFD bad", bytes.String())
}

func TestUsage(t *testing.T) {
	write := func(root, file, content string) {
		path := filepath.Join(root, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	root := t.TempDir()
	g := cgroup(root)
	assert.Equal(t, protocol.Usage{}, g.usage(), "nothing can be read")
	write(root, "memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n")
	write(root, "memory.max", "3221225472\n")
	write(root, "cpu.stat", "usage_usec 2500000\nuser_usec 1\n")
	assert.Equal(t, protocol.Usage{CPUSeconds: 2.5, MemoryKills: 2, MemoryLimit: 3 << 30}, g.usage())
	write(root, "memory.max", "max\n")
	assert.Zero(t, g.limit())

	for _, controller := range []string{"cpuacct", "cpu,cpuacct"} { // version 1
		root := t.TempDir()
		g := cgroup(root)
		write(root, "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
		write(root, "memory/memory.limit_in_bytes", "1073741824\n")
		write(root, controller+"/cpuacct.usage", "1500000000\n")
		assert.Equal(t, protocol.Usage{CPUSeconds: 1.5, MemoryKills: 4, MemoryLimit: 1 << 30}, g.usage())
		write(root, "memory/memory.limit_in_bytes", "9223372036854771712\n")
		assert.Zero(t, g.limit())
	}
	assert.Equal(t, 1500*time.Millisecond, cgroup(root).cpu()-time.Second)
}

func TestCores(t *testing.T) {
	for content, want := range map[string]int{"max 100000\n": 0, "100000 100000\n": 1, "150000 100000\n": 2, "10000 100000\n": 1, "": 0, "400000\n": 0} {
		root := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(root, "cpu.max"), []byte(content), 0o600))
		assert.Equal(t, want, cgroup(root).cores(), content)
	}
	for quota, want := range map[string]int{"-1\n": 0, "250000\n": 3} { // version 1
		root := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(root, "cpu"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(root, "cpu/cpu.cfs_quota_us"), []byte(quota), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(root, "cpu/cpu.cfs_period_us"), []byte("100000\n"), 0o600))
		assert.Equal(t, want, cgroup(root).cores(), quota)
	}
	assert.Zero(t, cgroup(t.TempDir()).cores())
}

// TestWorkingDirectory: it has to exist, and to be in a root whatever links say.
func TestWorkingDirectory(t *testing.T) {
	base := t.TempDir()
	home, outside := filepath.Join(base, "home"), filepath.Join(base, "outside")
	for _, dir := range []string{filepath.Join(home, "project"), outside} {
		require.NoError(t, os.MkdirAll(dir, 0o755))
	}
	require.NoError(t, os.Symlink(outside, filepath.Join(home, "link")))
	require.NoError(t, os.Symlink("project", filepath.Join(home, "inner")))
	require.NoError(t, os.WriteFile(filepath.Join(home, "file"), nil, 0o600))
	for wish, want := range map[string]string{
		"":                              "",
		home:                            home,
		home + "/project":               home + "/project",
		home + "/inner":                 home + "/project",
		home + "/link":                  "",
		home + "/missing":               "",
		home + "/file":                  "",
		home + "/project/../../outside": "",
		outside:                         "",
		base:                            "",
	} {
		assert.Equal(t, want, workingDir(protocol.Directory{Path: wish, Roots: []string{"/nonexistent", home}}), wish)
	}
	assert.NoDirExists(t, home+"/missing")
}
