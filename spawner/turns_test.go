package spawner

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTurnsOfOneAccount(t *testing.T) {
	t.Parallel()
	var all turns
	var inside, most atomic.Int64
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			end, err := all.take(t.Context(), "alice")
			if !assert.NoError(t, err) {
				return
			}
			if n := inside.Add(1); n > most.Load() {
				most.Store(n)
			}
			inside.Add(-1)
			end()
		})
	}
	wait.Wait()
	assert.EqualValues(t, 1, most.Load())
	assert.Empty(t, all.of, "accounts are forgotten")
}

func TestTurnsAreEachAccountsOwn(t *testing.T) {
	t.Parallel()
	var all turns
	endAlice, err := all.take(t.Context(), "alice")
	require.NoError(t, err)
	endBob, err := all.take(t.Context(), "bob")
	require.NoError(t, err)
	endBob()

	late, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = all.take(late, "alice")
	require.ErrorIs(t, err, context.Canceled, "who waits too long is told so")
	endAlice()
	end, err := all.take(t.Context(), "alice")
	require.NoError(t, err, "whoever gave up has left nothing")
	end()
	assert.Empty(t, all.of)
}
