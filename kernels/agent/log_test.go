package agent_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent"
)

// TestTheLogSaysForWhichRequest: the run's, and for what a call does the caller's.
func TestTheLogSaysForWhichRequest(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), func(c *agent.Config) { c.Request = "who-ran-it" })
	r.waitReady()
	for _, id := range []string{"pass-1", "evil id\n"} {
		req, err := http.NewRequest(http.MethodPut, "https://"+r.base+"/v1/idle", strings.NewReader(`{"timeoutSeconds": 3600}`))
		require.NoError(t, err)
		req.Header["Authorization"], req.Header["X-Request-Id"] = []string{"Bearer " + r.cfg.Secret.Bearer()}, []string{strings.TrimSpace(id)}
		answer, err := r.http.Do(req)
		require.NoError(t, err)
		answer.Body.Close()
		require.Equal(t, http.StatusNoContent, answer.StatusCode)
	}
	var told int
	for line := range strings.Lines(r.log.String()) {
		assert.Equal(t, 1, strings.Count(line, " request="), line)
		switch {
		case strings.Contains(line, "kernel started"), strings.Contains(line, "kernel ready"):
			assert.Contains(t, line, " request=who-ran-it")
		case strings.Contains(line, "idle time changed"):
			told++
			assert.Equal(t, told == 1, strings.Contains(line, " request=pass-1"), line)
			assert.NotContains(t, line, "evil")
		}
	}
	assert.Equal(t, 2, told)
}
