package portal

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/portal/holdings"
)

func TestListsAreReadOnceInAWhile(t *testing.T) {
	now, reads := time.Unix(1_800_000_000, 0), 0
	var fault error
	l := &lists{age: time.Second, now: func() time.Time { return now }, read: func(context.Context) (seen, error) {
		reads++
		return seen{Holdings: holdings.Holdings{Servers: make([]holdings.Server, reads)}}, fault
	}}
	get := func() int {
		h, err := l.get(t.Context())
		require.NoError(t, err)
		return len(h.Servers)
	}
	assert.Equal(t, 1, get())
	now = now.Add(time.Second - 1)
	assert.Equal(t, 1, get())
	l.forget()
	assert.Equal(t, 2, get(), "who has changed something sees it")
	now = now.Add(time.Second)
	assert.Equal(t, 3, get())
	now = now.Add(-time.Hour)
	assert.Equal(t, 4, get(), "a clock that was set back")
	now = now.Add(time.Second)
	fault = errors.New("no cache")
	_, err := l.get(t.Context())
	assert.ErrorIs(t, err, fault)
	fault = nil
	assert.Equal(t, 6, get())
}
