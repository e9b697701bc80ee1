package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/kernels/admission"
)

const (
	// answerFor is how long an answer may be used for an admission. The answer
	// itself may be as old as the directory cache allows.
	answerFor = 10 * time.Second
	// askAgain is when a directory that did not answer is asked again.
	askAgain = 5 * time.Second
	// questionsAtOnce and mostQuestions bound what is asked.
	questionsAtOnce = 8
	mostQuestions   = 1024
)

// Allowances says what a user may have now, by the groups of now.
type Allowances interface {
	Allowance(ctx context.Context, user string) (groups.Allowance, error)
}

// memberships asks for the policies of users whose kernels are about to be
// admitted. A pass never waits for an answer: it uses those that have come, and
// an answer that comes makes another pass.
type memberships struct {
	allowances Allowances
	now        func() time.Time
	// came is sent to, without waiting, when an answer has come.
	came      chan event.GenericEvent
	questions chan string

	mu      sync.Mutex
	answers map[string]membership
	asked   map[string]bool // questions on their way
}

// membership is an answer about one user.
type membership struct {
	policies []string
	// gone says why the user may have nothing any more, unknown why that cannot
	// be told now.
	gone, unknown admission.ReasonCode
	at            time.Time
}

func newMemberships(allowances Allowances, now func() time.Time) *memberships {
	return &memberships{
		allowances: allowances, now: now,
		came: make(chan event.GenericEvent, 1), questions: make(chan string, mostQuestions),
		answers: map[string]membership{}, asked: map[string]bool{},
	}
}

// answer is what is known of a user. One that could not be had counts until
// another one comes; it is asked for again meanwhile.
func (m *memberships) answer(user string) (membership, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.answers[user]
	age := m.now().Sub(known.at)
	switch {
	case !ok:
		return membership{}, false
	case known.unknown != "":
		if age >= askAgain {
			m.ask(user)
		}
		return known, true
	case age >= answerFor:
		delete(m.answers, user)
		return membership{}, false
	}
	return known, true
}

// want asks for the policies of a user of whom nothing is known.
func (m *memberships) want(user string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ask(user)
}

func (m *memberships) ask(user string) {
	if m.asked[user] {
		return
	}
	select {
	case m.questions <- user:
		m.asked[user] = true
	default: // the next pass asks
	}
}

// keep drops the answers about users of whom nothing waits.
func (m *memberships) keep(waits map[string]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for user := range m.answers {
		if !waits[user] {
			delete(m.answers, user)
		}
	}
}

// NeedLeaderElection makes the leader ask, who alone admits.
func (m *memberships) NeedLeaderElection() bool { return true }

// Start asks until the context ends.
func (m *memberships) Start(ctx context.Context) error {
	var g errgroup.Group
	for range questionsAtOnce {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case user := <-m.questions:
					m.note(user, m.lookUp(ctx, user))
				}
			}
		})
	}
	return g.Wait()
}

func (m *memberships) note(user string, answer membership) {
	m.mu.Lock()
	m.answers[user] = answer
	delete(m.asked, user)
	m.mu.Unlock()
	select {
	case m.came <- event.GenericEvent{}:
	default:
	}
}

func (m *memberships) lookUp(ctx context.Context, user string) membership {
	a := membership{at: m.now()}
	allowance, err := m.allowances.Allowance(ctx, user)
	switch {
	case err == nil:
		a.policies = slices.Clone(allowance.Policies)
	case errors.Is(err, groups.ErrUnknownUser):
		a.gone = admission.UserUnknown
	case errors.Is(err, groups.ErrNoPolicy):
		a.gone = admission.UserWithoutPolicy
	case errors.Is(err, groups.ErrInvalidPolicy):
		a.unknown = admission.PolicyInvalid
	default:
		a.unknown = admission.GroupsUnknown
	}
	return a
}

// memberOf is the user whose groups decide about a kernel, empty where none do:
// policies that an administrator wrote, into a notebook of their own or for a
// client of a gateway, count as they are written.
func memberOf(k *v1alpha1.JupyterKernel, nb *v1alpha1.JupyterNotebook) string {
	if nb == nil || nb.Spec.Start == "" || nb.Spec.KernelOptions == nil || len(nb.Spec.KernelOptions.Policies) == 0 {
		return ""
	}
	return k.Spec.User
}
