package hubclient_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/hubclient"
)

// TestAServerIsStopped when the Hub and its database say so, and in no case of doubt.
func TestAServerIsStopped(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`{"ready": false, "pending": null, "stopped": true, "started": null}`:                     true,
		`{"ready": true, "pending": null, "stopped": false, "started": "2026-01-02T03:04:05Z"}`:   false,
		`{"ready": false, "pending": "spawn", "stopped": false, "started": null}`:                 false,
		`{"ready": false, "pending": "check", "stopped": true, "started": null}`:                  false,
		`{"ready": false, "pending": null, "stopped": true, "started": "2026-01-02T03:04:05.6Z"}`: false, // by another process
		`{"ready": false, "pending": null, "stopped": true}`:                                      false, // no such field
		`{"ready": false, "pending": null, "started": null}`:                                      false,
		`{"ready": true, "pending": null, "stopped": true, "started": null}`:                      false,
		`{}`: false,
	} {
		var server hubclient.Server
		require.NoError(t, json.Unmarshal([]byte(text), &server))
		assert.Equal(t, want, server.IsStopped(), text)
	}
}
