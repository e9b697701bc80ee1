package main

import (
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

func TestGatewayConfigTellsEveryFault(t *testing.T) {
	_, _, _, err := gatewayConfig(func(string) (string, bool) { return "", true })
	for _, field := range []string{"namespace", "name", "listen", "health", "keyFile", "tokenKeyFile", "log.level"} {
		assert.ErrorContains(t, err, field)
	}
}
