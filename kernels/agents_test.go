package kernels

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// fakeAgents stands for the agents of a test's Pods, which have no network.
// Package kernels/agent/remote is tested against the real one.
type fakeAgents struct {
	mu     sync.Mutex
	agents map[string]*fakeAgent // by address
}

type fakeAgent struct {
	secret  keys.Secret // of the last call
	timeout time.Duration
	short   time.Duration
	cull    bool
	calls   int           // of SetIdle that were obeyed
	idle    time.Duration // what the agent says
	silent  bool          // it does not answer
	meter   *protocol.Meter
	parked  bool
	// unyielding: not all of its state can be kept, and a policy wants that.
	unyielding bool
	ended      bool // by Shutdown
	// parkCalls counts those of Park, whatever was answered.
	parkCalls int

	// notices are those that were taken; whole: it was to be parked only if all is kept.
	notices []string
	whole   bool

	variables map[string]string
	directory *protocol.Directory
	keep      *protocol.KeepState
}

func newFakeAgents() *fakeAgents { return &fakeAgents{agents: map[string]*fakeAgent{}} }

// at changes or reads the agent of an address, which may be new.
func (f *fakeAgents) at(ip string, use func(*fakeAgent)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.agents[ip] == nil {
		f.agents[ip] = &fakeAgent{}
	}
	use(f.agents[ip])
}

func (f *fakeAgents) state(ip string) (a fakeAgent) {
	f.at(ip, func(current *fakeAgent) { a = *current })
	return a
}

var errSilent = errors.New("no answer")

func (f *fakeAgents) SetIdle(_ context.Context, ip string, secret keys.Secret, limits protocol.IdleLimits) (err error) {
	f.at(ip, func(a *fakeAgent) {
		if err = errSilent; a.silent {
			return
		}
		a.secret, a.timeout, a.cull, err = secret, limits.Long, limits.CullConnected, nil
		a.short = limits.Short
		a.calls++
	})
	return err
}

func (f *fakeAgents) SetVariables(_ context.Context, ip string, secret keys.Secret, told protocol.Variables) (err error) {
	f.at(ip, func(a *fakeAgent) {
		if err = errSilent; !a.silent {
			a.secret, a.variables, a.directory, err = secret, told.Variables, told.Directory, nil
		}
	})
	return err
}

func (f *fakeAgents) SetKeep(_ context.Context, ip string, secret keys.Secret, state protocol.KeepState) (told bool, err error) {
	f.at(ip, func(a *fakeAgent) {
		if err = errSilent; !a.silent {
			a.secret, a.keep, err = secret, &state, nil
		}
	})
	return err == nil, err
}

func (f *fakeAgents) Shutdown(_ context.Context, ip string, secret keys.Secret) (err error) {
	f.at(ip, func(a *fakeAgent) {
		if err = errSilent; !a.silent {
			a.secret, a.ended, err = secret, true, nil
		}
	})
	return err
}

func (f *fakeAgents) Idle(_ context.Context, ip string, secret keys.Secret) (idle time.Duration, err error) {
	f.at(ip, func(a *fakeAgent) {
		if a.silent {
			err = errSilent
		}
		a.secret, idle = secret, a.idle
	})
	return idle, err
}

func (f *fakeAgents) IdleToYield(ctx context.Context, ip string, secret keys.Secret) (idle time.Duration, err error) {
	if f.state(ip).unyielding {
		return 0, nil
	}
	return f.Idle(ctx, ip, secret)
}

func (f *fakeAgents) Report(ctx context.Context, ip string, secret keys.Secret) (protocol.Report, error) {
	idle, err := f.Idle(ctx, ip, secret)
	return protocol.Report{Idle: idle, Meter: f.state(ip).meter}, err
}

func (f *fakeAgents) ParkByHand(ctx context.Context, ip string, secret keys.Secret, idle time.Duration) (bool, error) {
	return f.Park(ctx, ip, secret, idle)
}

func (f *fakeAgents) ParkForBudget(ctx context.Context, ip string, secret keys.Secret, idle time.Duration, whole bool) (bool, error) {
	f.at(ip, func(a *fakeAgent) { a.whole = whole })
	return f.Park(ctx, ip, secret, idle)
}

func (f *fakeAgents) Notify(_ context.Context, ip string, secret keys.Secret, notice protocol.Notice) (err error) {
	f.at(ip, func(a *fakeAgent) {
		if err = errSilent; !a.silent {
			a.secret, err = secret, nil
			a.notices = append(a.notices, notice.Text)
		}
	})
	return err
}

func (f *fakeAgents) Park(_ context.Context, ip string, secret keys.Secret, idle time.Duration) (will bool, err error) {
	f.at(ip, func(a *fakeAgent) {
		a.parkCalls++
		if err = errSilent; a.silent {
			return
		}
		a.secret, err = secret, nil
		will = a.idle >= idle
		a.parked = a.parked || will
	})
	return will, err
}
