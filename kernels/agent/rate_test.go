package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestRateOfMessages(t *testing.T) {
	now := time.Unix(1, 0)
	r := newRate(10, 0)
	pass := func(n int) (passed int, news []rateNews) {
		for range n {
			ok, what := r.pass(now, 1<<20)
			if ok {
				passed++
			}
			if what != rateSame {
				news = append(news, what)
			}
		}
		return passed, news
	}
	passed, news := pass(50)
	assert.Equal(t, 30, passed, "three seconds' worth at once")
	assert.Equal(t, []rateNews{rateBegun}, news)
	now = now.Add(900 * time.Millisecond)
	passed, _ = pass(5)
	assert.Zero(t, passed, "until a second's worth is there again")
	now = now.Add(100 * time.Millisecond)
	passed, news = pass(1)
	assert.Equal(t, 1, passed)
	assert.Equal(t, []rateNews{rateEnded}, news)
	assert.Equal(t, 25, r.took())
	assert.Zero(t, r.took())
	for range 100 { // at its rate, for ever
		now = now.Add(100 * time.Millisecond)
		passed, news = pass(1)
		assert.Equal(t, 1, passed)
		assert.Empty(t, news)
	}
	assert.Equal(t, "10 messages a second", r.limits())
}

func TestRateOfBytes(t *testing.T) {
	now := time.Unix(1, 0)
	r := newRate(0, 1000)
	ok, _ := r.pass(now, 10_000)
	assert.True(t, ok, "one message of any size")
	ok, news := r.pass(now, 1)
	assert.False(t, ok)
	assert.Equal(t, rateBegun, news)
	now = now.Add(7 * time.Second)
	ok, _ = r.pass(now, 1)
	assert.False(t, ok, "it is not paid for yet")
	now = now.Add(time.Second)
	ok, news = r.pass(now, 1)
	assert.True(t, ok)
	assert.Equal(t, rateEnded, news)
	assert.Equal(t, "1 KB a second", r.limits())
	assert.Equal(t, "5 messages or 1 KB a second", newRate(5, 1000).limits())
}

func TestNoRate(t *testing.T) {
	r := newRate(0, 0)
	for range 1000 {
		ok, news := r.pass(time.Unix(1, 0), 1<<30)
		assert.True(t, ok)
		assert.Equal(t, rateSame, news)
	}
}
