package queue

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/kernels/admission"
)

type scripted []error

func (s *scripted) Allowance(context.Context, string) (groups.Allowance, error) {
	err := (*s)[0]
	*s = (*s)[1:]
	return groups.Allowance{Policies: []string{"p"}}, err
}

// TestHowLongAnAnswerCounts: a good one for answerFor; one that could not be had
// until another comes.
func TestHowLongAnAnswerCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemberships(&scripted{nil, groups.ErrUnavailable, errors.New("unforeseen"), groups.ErrInvalidPolicy, groups.ErrNoPolicy}, time.Now)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Start(ctx) }()
		_, known := m.answer("ann")
		assert.False(t, known)
		m.want("ann")
		m.want("ann") // one question
		synctest.Wait()
		<-m.came
		time.Sleep(answerFor - time.Second)
		a, known := m.answer("ann")
		assert.True(t, known)
		assert.Equal(t, []string{"p"}, a.policies)
		time.Sleep(time.Second)
		_, known = m.answer("ann")
		assert.False(t, known, "an old answer admits nobody")

		m.want("ann")
		synctest.Wait()
		for _, says := range []admission.ReasonCode{admission.GroupsUnknown, admission.GroupsUnknown, admission.PolicyInvalid} {
			a, _ = m.answer("ann")
			assert.Equal(t, says, a.unknown)
			time.Sleep(askAgain)
			a, _ = m.answer("ann")
			assert.Equal(t, says, a.unknown, "until another answer comes")
			synctest.Wait()
		}
		a, _ = m.answer("ann")
		assert.Empty(t, a.unknown)
		assert.Equal(t, admission.UserWithoutPolicy, a.gone)
		m.keep(map[string]bool{"bob": true})
		_, known = m.answer("ann")
		assert.False(t, known, "nothing of hers waits")
		cancel()
		assert.NoError(t, <-done)
	})
}

// TestNobodyIsOvertakenWhileTheirGroupsAreAskedFor: what was found for somebody is
// kept until the answer comes.
func TestNobodyIsOvertakenWhileTheirGroupsAreAskedFor(t *testing.T) {
	t.Parallel()
	in := admission.Input{Nodes: []admission.Node{{Name: "n", Total: admission.Resources{"gpu": 1}, Free: admission.Resources{"gpu": 1}}}}
	for i, id := range []string{"first", "second"} {
		in.Requests = append(in.Requests, admission.Request{ID: id, User: id, Since: time.Unix(int64(i), 0), Wants: admission.Resources{"gpu": 1}})
	}
	a := &admitter{memberships: newMemberships(&scripted{}, time.Now)}
	d := admission.Decide(in)
	a.askFirst(&survey{unasked: map[string]string{"first": "ann"}}, &d)
	assert.Empty(t, d.Admit)
	assert.Contains(t, d.Wait, "second")
	assert.Equal(t, "ann", <-a.memberships.questions)
}
