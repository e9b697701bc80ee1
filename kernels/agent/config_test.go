package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

func env(pairs map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := pairs[name]; return v, ok }
}

func TestConfigFromEnv(t *testing.T) {
	secret, err := keys.Derive(make([]byte, keys.Size), "u", 1)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte(secret.Hex()+"\n"), 0o600))

	want := DefaultConfig()
	want.Secret = secret
	got, err := ConfigFromEnv(env(map[string]string{protocol.EnvKeyFile: file}))
	require.NoError(t, err)
	assert.Equal(t, want, got)

	want.KernelID, want.KernelName, want.Listen, want.TerminationLog = "id", "python3", ":1", "/t"
	want.IdleTimeout, want.CullConnected, want.InterruptMode, want.GPUs = 90*time.Second, false, protocol.InterruptSignal, 2
	want.ParkNotice, want.IOPubMessages, want.IOPubBytes = 30*time.Second, 1000, 1<<20
	got, err = ConfigFromEnv(env(map[string]string{
		protocol.EnvKeyFile: file, protocol.EnvKernelID: "id", protocol.EnvKernelName: "python3", protocol.EnvIdleTimeout: "90", protocol.EnvCullConnected: "false",
		protocol.EnvInterruptMode: "signal", protocol.EnvGPUs: "2", protocol.EnvTerminationLog: "/t", protocol.EnvListen: ":1",
		protocol.EnvParkNotice: "30", protocol.EnvIOPubMessages: "1000", protocol.EnvIOPubBytes: "1048576",
	}))
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.NoError(t, got.Validate())
}

func TestConfigFromEnvTellsEveryFault(t *testing.T) {
	_, err := ConfigFromEnv(env(map[string]string{
		protocol.EnvKeyFile: "/nonexistent", protocol.EnvIdleTimeout: "1m", protocol.EnvCullConnected: "perhaps", protocol.EnvGPUs: "-1",
	}))
	for _, name := range []string{protocol.EnvKeyFile, protocol.EnvIdleTimeout, protocol.EnvCullConnected, protocol.EnvGPUs} {
		assert.ErrorContains(t, err, name+": ")
	}
	_, err = ConfigFromEnv(env(nil))
	assert.EqualError(t, err, protocol.EnvKeyFile+": required")
	for _, value := range []string{"", "-1", "1.5", " 1", "9999999999"} {
		_, err := ConfigFromEnv(env(map[string]string{protocol.EnvIdleTimeout: value}))
		assert.ErrorContains(t, err, protocol.EnvIdleTimeout, "%q", value)
	}
}

func TestValidateTellsEveryFault(t *testing.T) {
	c := Config{IdleTimeout: -1, GPUs: -1, ParkNotice: -1, IOPubMessages: -1, IOPubBytes: -1, Listen: "nowhere", InterruptMode: "shout"}
	err := c.Validate()
	for _, field := range []string{"Secret", "KernelID", "KernelName", "Listen", "IdleTimeout", "InterruptMode", "GPUs",
		"StartTimeout", "ShutdownGrace", "ReplayBytes", "MaxMessage", "MaxSessions", "Log", "Output", "ParkNotice", "OrphanAfter", "IOPubMessages", "IOPubBytes"} {
		assert.ErrorContains(t, err, "agent: "+field+": ")
	}
}

func TestKernelEnv(t *testing.T) {
	quiet := "PYDEVD_DISABLE_FILE_VALIDATION=1"
	assert.Equal(t, []string{quiet, "A=1", "ELASTICHUB_KERNEL_ID=k", "JPY_PARENT_PIDX=1"},
		kernelEnv([]string{"A=1", "ELASTICHUB_AGENT_KEY_FILE=/k", "ELASTICHUB_KERNEL_ID=k", "JPY_PARENT_PID=1", "JPY_PARENT_PIDX=1"}))
	own := "PYDEVD_DISABLE_FILE_VALIDATION=0"
	assert.Equal(t, []string{quiet, own}, kernelEnv([]string{own}), "the last one counts")
}

func TestFillCommand(t *testing.T) {
	assert.Equal(t, []string{"python", "-f", "/c", "--x=/c:/c"},
		fillCommand([]string{"python", "-f", "{connection_file}", "--x={connection_file}:{connection_file}"}, "/c"))
}

func TestPorts(t *testing.T) {
	ports, err := freePorts(5)
	require.NoError(t, err)
	seen := map[int]bool{}
	for _, p := range ports {
		assert.GreaterOrEqual(t, p, lowestPort)
		assert.LessOrEqual(t, p, highestPort)
		seen[p] = true
	}
	assert.Len(t, seen, 5)
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

func TestTerminationLogFits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, text := range []string{"short", strings.Repeat("a", 10_000), strings.Repeat("\x00", 10_000), strings.Repeat("é", 10_000)} {
		require.NoError(t, writeResult(path, protocol.Result{Reason: protocol.ReasonStartFailed, Message: text + "END", ExitCode: 3}))
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.LessOrEqual(t, len(raw), 4096)
		var r protocol.Result
		require.NoError(t, json.Unmarshal(raw, &r))
		assert.Equal(t, protocol.ReasonStartFailed, r.Reason)
		assert.Equal(t, 3, r.ExitCode)
		assert.True(t, strings.HasSuffix(r.Message, "END"))
	}
}

func TestNotice(t *testing.T) {
	for gpus, want := range []string{
		"Kernel parked after 20 min without work. Run a cell to bring it back; variables are gone, files are kept.",
		"Kernel parked after 20 min without work: its GPU is free again. Run a cell to bring it back; variables are gone, files are kept.",
		"Kernel parked after 20 min without work: its 2 GPUs are free again. Run a cell to bring it back; variables are gone, files are kept.",
	} {
		a := agent{cfg: Config{GPUs: gpus}}
		assert.Equal(t, want, a.parkedNotice(idleness{timeout: 20 * time.Minute}))
	}
	assert.Equal(t, []string{"1 s", "119 s", "2 min", "90 min"}, []string{span(time.Second), span(119 * time.Second), span(2 * time.Minute), span(90 * time.Minute)})
}

func TestMemory(t *testing.T) {
	root := t.TempDir()
	m := memory{root}
	assert.Zero(t, m.kills())
	assert.Empty(t, m.limit())
	require.NoError(t, os.WriteFile(filepath.Join(root, "memory.events"), []byte("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(root, "memory.max"), []byte("3221225472\n"), 0o600))
	assert.Equal(t, uint64(2), m.kills())
	assert.Equal(t, "3.0 GiB", m.limit())
	require.NoError(t, os.WriteFile(filepath.Join(root, "memory.max"), []byte("max\n"), 0o600))
	assert.Empty(t, m.limit())

	m = memory{t.TempDir()} // version 1
	v1 := filepath.Join(m.root, "memory")
	require.NoError(t, os.Mkdir(v1, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(v1, "memory.oom_control"), []byte("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(v1, "memory.limit_in_bytes"), []byte("1073741824\n"), 0o600))
	assert.Equal(t, uint64(4), m.kills())
	assert.Equal(t, "1.0 GiB", m.limit())
	require.NoError(t, os.WriteFile(filepath.Join(v1, "memory.limit_in_bytes"), []byte("9223372036854771712\n"), 0o600))
	assert.Empty(t, m.limit())
}
