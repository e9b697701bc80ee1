package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/tracing"
)

// gatewayEnviron is what the JupyterGateway controller sets.
func gatewayEnviron(name string) (string, bool) {
	value, ok := map[string]string{
		"ELASTICHUB_GATEWAY_NAMESPACE": "lab", "ELASTICHUB_GATEWAY_NAME": "default", "ELASTICHUB_GATEWAY_KEY_FILE": "/key",
		"ELASTICHUB_GATEWAY_TOKEN_PUBLIC_KEY_FILE": "/pub", "ELASTICHUB_GATEWAY_LISTEN": ":8888", "ELASTICHUB_LOG_LEVEL": "debug",
		"ELASTICHUB_GATEWAY_METRICS_TOKEN_FILE": "/metrics/token",
		"ELASTICHUB_TRACING_ENDPOINT":           "http://collector:4318", "ELASTICHUB_TRACING_SAMPLE_PERCENT": "2.5",
	}[name]
	return value, ok
}

func TestGatewayConfig(t *testing.T) {
	config, logging, traces, err := gatewayConfig(gatewayEnviron)
	require.NoError(t, err)
	assert.Equal(t, "lab", config.Namespace)
	assert.Equal(t, "default", config.Name)
	assert.Equal(t, "debug", logging.Level)
	assert.Equal(t, tracing.Config{Endpoint: "http://collector:4318", SamplePercent: 2.5}, traces)
	assert.Equal(t, "/metrics/token", config.MetricsTokenFile)
	assert.Positive(t, config.MessageBytes)

	before := debug.SetMemoryLimit(200 << 20)
	defer debug.SetMemoryLimit(before)
	config, _, _, err = gatewayConfig(gatewayEnviron)
	require.NoError(t, err)
	assert.Equal(t, int64(80<<20), config.MessageBytes, "four tenths of the memory there is")
}

func TestMemoryLimitOfTheControlGroup(t *testing.T) {
	before := debug.SetMemoryLimit(1 << 30)
	defer debug.SetMemoryLimit(before)
	for file, limits := range map[string]map[string]int64{
		"memory.max":                   {"max\n": 1 << 30, "2147483648\n": 1 << 30, "100000000\n": 90000000, "": 1 << 30},
		"memory/memory.limit_in_bytes": {"9223372036854771712\n": 1 << 30, "100000000\n": 90000000},
	} {
		for text, want := range limits {
			debug.SetMemoryLimit(1 << 30)
			root := t.TempDir()
			path := filepath.Join(root, file)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			assert.Equal(t, want, limitMemory(root), "%s: %q", file, text)
			assert.Equal(t, want, debug.SetMemoryLimit(-1), "the garbage collector knows it")
		}
	}
	debug.SetMemoryLimit(1 << 30)
	assert.Equal(t, int64(1<<30), limitMemory(t.TempDir()))
}

func TestGatewayConfigTellsEveryFault(t *testing.T) {
	_, _, _, err := gatewayConfig(func(string) (string, bool) { return "", true })
	for _, field := range []string{"namespace", "name", "listen", "health", "keyFile", "tokenKeyFile", "log.level"} {
		assert.ErrorContains(t, err, field)
	}
}
