package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// TestMetricsWantTheirToken asks the server of the service's metrics.
func TestMetricsWantTheirToken(t *testing.T) {
	const token = "0123456789abcdef"
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
	for name, test := range map[string]struct {
		config    metricsConfig
		stranger  int
		entrusted int
	}{
		"configured": {metricsConfig{TokenFile: file, TokenSecret: "metrics"}, http.StatusUnauthorized, http.StatusOK},
		"not":        {metricsConfig{}, http.StatusOK, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			probe, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			test.config.Listen = probe.Addr().String()
			require.NoError(t, probe.Close())
			options, err := metricsOptions(test.config)
			require.NoError(t, err)
			server, err := metricsserver.NewServer(options, &rest.Config{}, http.DefaultClient)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- server.Start(ctx) }()
			defer func() {
				cancel()
				assert.NoError(t, <-ended)
			}()
			get := func(authorization string) (code int, body string) {
				require.Eventually(t, func() bool {
					req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+test.config.Listen+"/metrics", nil)
					require.NoError(t, err)
					if authorization != "" {
						req.Header.Set("Authorization", authorization)
					}
					resp, err := http.DefaultClient.Do(req)
					if err != nil {
						return false // not yet
					}
					defer func() { assert.NoError(t, resp.Body.Close()) }()
					text, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					code, body = resp.StatusCode, string(text)
					return true
				}, time.Minute, 10*time.Millisecond)
				return code, body
			}
			for _, authorization := range []string{"", "Bearer ", "Bearer fedcba9876543210"} {
				code, body := get(authorization)
				assert.Equal(t, test.stranger, code, authorization)
				assert.Equal(t, code == http.StatusOK, strings.Contains(body, "controller_runtime_"), authorization)
			}
			code, body := get("Bearer " + token)
			assert.Equal(t, test.entrusted, code)
			assert.Contains(t, body, "controller_runtime_")
		})
	}
}

func TestAMetricsTokenThatCannotBeUsedStopsTheStart(t *testing.T) {
	_, err := metricsOptions(metricsConfig{TokenFile: filepath.Join(t.TempDir(), "absent")})
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "metrics.tokenFile")
	for _, half := range []string{"metrics: {tokenFile: /x}", "metrics: {tokenSecret: x}"} {
		_, err := loadServeConfig(writeConfig(t, minimal+half+"\n"), nil)
		assert.ErrorContains(t, err, "metrics.tokenFile: ", half)
	}
}
