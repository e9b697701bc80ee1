package main

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// gatewayEnviron is what the JupyterGateway controller sets.
func gatewayEnviron(name string) (string, bool) {
	value, ok := map[string]string{
		"ELASTICHUB_GATEWAY_NAMESPACE": "lab", "ELASTICHUB_GATEWAY_NAME": "default", "ELASTICHUB_GATEWAY_KEY_FILE": "/key",
		"ELASTICHUB_GATEWAY_TOKEN_PUBLIC_KEY_FILE": "/pub", "ELASTICHUB_GATEWAY_LISTEN": ":8888", "ELASTICHUB_LOG_LEVEL": "debug",
	}[name]
	return value, ok
}

func TestGatewayConfig(t *testing.T) {
	config, logging, err := gatewayConfig(gatewayEnviron)
	require.NoError(t, err)
	assert.Equal(t, "lab", config.Namespace)
	assert.Equal(t, "default", config.Name)
	assert.Equal(t, "debug", logging.Level)
	assert.Equal(t, int64(256<<20), config.LargeFrameBytes)

	before := debug.SetMemoryLimit(200 << 20)
	defer debug.SetMemoryLimit(before)
	config, _, err = gatewayConfig(gatewayEnviron)
	require.NoError(t, err)
	assert.Equal(t, int64(50<<20), config.LargeFrameBytes, "a quarter of the memory there is")
}

func TestGatewayConfigTellsEveryFault(t *testing.T) {
	_, _, err := gatewayConfig(func(string) (string, bool) { return "", true })
	for _, field := range []string{"namespace", "name", "listen", "health", "keyFile", "tokenKeyFile", "log.level"} {
		assert.ErrorContains(t, err, field)
	}
}
