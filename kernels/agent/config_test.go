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

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
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
	want.Secret, want.SecretFile = secret, file
	got, err := ConfigFromEnv(env(map[string]string{protocol.EnvKeyFile: file}))
	require.NoError(t, err)
	assert.Equal(t, want, got)

	want.KernelID, want.KernelName, want.Listen, want.TerminationLog, want.Socket = "id", "python3", ":1", "/t", "/s"
	want.IdleTimeout, want.CullConnected, want.InterruptMode, want.GPUs = 90*time.Second, false, protocol.InterruptSignal, 2
	want.ParkNotice, want.IOPubMessages, want.IOPubBytes, want.BusyCPU, want.BusyGPU = 30*time.Second, 1000, 1<<20, 0.5, 12.5
	got, err = ConfigFromEnv(env(map[string]string{
		protocol.EnvKeyFile: file, protocol.EnvKernelID: "id", protocol.EnvKernelName: "python3", protocol.EnvIdleTimeout: "90", protocol.EnvCullConnected: "false",
		protocol.EnvInterruptMode: "signal", protocol.EnvGPUs: "2", protocol.EnvTerminationLog: "/t", protocol.EnvListen: ":1",
		protocol.EnvParkNotice: "30", protocol.EnvIOPubMessages: "1000", protocol.EnvIOPubBytes: "1048576", protocol.EnvBusyCPU: "0.5", protocol.EnvBusyGPU: "12.5", protocol.EnvSocket: "/s",
	}))
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.NoError(t, got.Validate())
}

// TestKeepFromEnv: a key is what has a kernel's state kept.
func TestKeepFromEnv(t *testing.T) {
	dir := t.TempDir()
	secret, key := filepath.Join(dir, "key"), filepath.Join(dir, "keep")
	require.NoError(t, os.WriteFile(secret, []byte(keys.Secret{1}.Hex()), 0o600))
	require.NoError(t, os.WriteFile(key, []byte(keys.KeepKey{1}.Hex()+"\n"+keys.KeepKey{2}.Hex()+"\n"), 0o600))
	found := map[string]string{
		protocol.EnvKeyFile: secret, protocol.EnvKernelID: "id", protocol.EnvKernelName: "python3", protocol.EnvKeepKeyFile: key,
		protocol.EnvKeepKernel: "uid", protocol.EnvKeepRun: "3", protocol.EnvKeepLoads: "1", protocol.EnvKeepIdle: "300", protocol.EnvKeepMaxBytes: "8589934592", protocol.EnvKeepTTL: "3600", protocol.EnvKeepYieldWhole: "true",
	}
	got, err := ConfigFromEnv(env(found))
	require.NoError(t, err)
	assert.Equal(t, &Keep{
		Kernel: "uid", Keys: []store.Key{{1}, {2}}, Run: 3, Loads: 1, Files: "/opt/elastichub/keep", Short: 5 * time.Minute,
		TTL: time.Hour, MaxBytes: 8 << 30, FreePercent: 10, FreeAtMost: 2 << 30,
	}, got.Keep)
	require.NoError(t, got.Validate())
	got.Keep.Run, got.Keep.TTL, got.Keep.Kernel = 0, 0, ""
	err = got.Validate()
	for _, field := range []string{"Keep.Run", "Keep.TTL", "Keep.Kernel"} {
		assert.ErrorContains(t, err, field)
	}
	found[protocol.EnvKeepRun] = "third"
	_, err = ConfigFromEnv(env(found))
	assert.ErrorContains(t, err, protocol.EnvKeepRun)
	require.NoError(t, os.WriteFile(key, nil, 0o600))
	_, err = ConfigFromEnv(env(found))
	assert.ErrorContains(t, err, protocol.EnvKeepKeyFile)
}

// TestKeepLaterFromEnv: it is told how the state is kept, but for what holds for all.
func TestKeepLaterFromEnv(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(secret, []byte(keys.Secret{1}.Hex()), 0o600))
	found := map[string]string{
		protocol.EnvKeyFile: secret, protocol.EnvKernelID: "id", protocol.EnvKernelName: "python3", protocol.EnvKeepLater: "true",
	}
	got, err := ConfigFromEnv(env(found))
	require.NoError(t, err)
	require.NoError(t, got.Validate())
	assert.Nil(t, got.Keep)
	assert.Equal(t, &Keep{Files: "/opt/elastichub/keep", YieldAny: true, FreePercent: 10, FreeAtMost: 2 << 30}, got.KeepLater)
	got.Keep = &Keep{Kernel: "uid", Keys: []store.Key{{1}}, Run: 1, Files: "/", TTL: time.Hour}
	assert.ErrorContains(t, got.Validate(), "KeepLater")
	found[protocol.EnvKeepLater] = "perhaps"
	_, err = ConfigFromEnv(env(found))
	assert.ErrorContains(t, err, protocol.EnvKeepLater)
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
	c := Config{BusyCPU: -1, BusyGPU: 101, ProbePeriod: -1, IdleTimeout: -1, GPUs: -1, ParkNotice: -1, IOPubMessages: -1, IOPubBytes: -1, Listen: "nowhere", InterruptMode: "shout"}
	err := c.Validate()
	for _, field := range []string{"Secret", "KernelID", "KernelName", "Listen", "IdleTimeout", "InterruptMode", "GPUs",
		"StartTimeout", "ShutdownGrace", "ReplayBytes", "MaxMessage", "MaxSessions", "Log", "ParkNotice", "Socket", "BusyCPU", "BusyGPU", "ProbePeriod", "ContainerTimeout", "OrphanAfter", "IOPubMessages", "IOPubBytes"} {
		assert.ErrorContains(t, err, "agent: "+field+": ")
	}
}

func TestPorts(t *testing.T) {
	seen := map[int]bool{}
	const agents = 200
	for range agents {
		ports, err := freePorts(5)
		require.NoError(t, err)
		for _, p := range ports {
			assert.GreaterOrEqual(t, p, lowestPort)
			assert.LessOrEqual(t, p, highestPort)
			seen[p] = true
		}
	}
	assert.Len(t, seen, 5*agents, "nobody's are another's, before anybody listens")
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

// TestTheCauseIsNotLostWithTheNames of what is not kept.
func TestTheCauseIsNotLostWithTheNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	kept := &protocol.Kept{Outcome: protocol.KeptPart, Run: 7, Variables: 3, Bytes: 9}
	for i := range protocol.MostLost {
		kept.Lost = append(kept.Lost, strings.Repeat(string(rune('a'+i)), 500))
	}
	require.NoError(t, writeResult(path, protocol.Result{Reason: protocol.ReasonIdle, Message: "because", Kept: kept}))
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(raw), 4096)
	var r protocol.Result
	require.NoError(t, json.Unmarshal(raw, &r))
	assert.Equal(t, "because", r.Message)
	assert.Equal(t, kept.Lost[:len(r.Kept.Lost)], r.Kept.Lost)
	assert.GreaterOrEqual(t, len(r.Kept.Lost), 7)
	assert.Equal(t, int64(7), r.Kept.Run)
	assert.Len(t, kept.Lost, protocol.MostLost, "it is the caller's")
}

func TestNotice(t *testing.T) {
	for gpus, want := range []string{
		"Kernel parked after 20 min without work. Run a cell to bring it back; variables are gone, files are kept.",
		"Kernel parked after 20 min without work: its GPU is free again. Run a cell to bring it back; variables are gone, files are kept.",
		"Kernel parked after 20 min without work: its 2 GPUs are free again. Run a cell to bring it back; variables are gone, files are kept.",
	} {
		a := agent{cfg: Config{GPUs: gpus}}
		assert.Equal(t, want, a.parkedNotice(idleness{timeout: 20 * time.Minute}, words{}))
	}
	assert.Equal(t, []string{"1 s", "119 s", "2 min", "90 min"}, []string{span(time.Second), span(119 * time.Second), span(2 * time.Minute), span(90 * time.Minute)})
}
