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
	secret  keys.Secret // that the last call has tried first
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

func (f *fakeAgents) SetIdle(_ context.Context, ip string, secrets keys.Secrets, limits protocol.IdleLimits) (err error) {
	f.at(ip, func(a *fakeAgent) {
		if err = errSilent; a.silent {
			return
		}
		a.secret, a.timeout, a.cull, err = secrets[0], limits.Long, limits.CullConnected, nil
		a.short = limits.Short
		a.calls++
	})
	return err
}

func (f *fakeAgents) SetVariables(_ context.Context, ip string, secrets keys.Secrets, told protocol.Variables) (err error) {
	f.at(ip, func(a *fakeAgent) {
		if err = errSilent; !a.silent {
			a.secret, a.variables, a.directory, err = secrets[0], told.Variables, told.Directory, nil
		}
	})
	return err
}

func (f *fakeAgents) SetKeep(_ context.Context, ip string, secrets keys.Secrets, state protocol.KeepState) (told bool, err error) {
	f.at(ip, func(a *fakeAgent) {
		if err = errSilent; !a.silent {
			a.secret, a.keep, err = secrets[0], &state, nil
		}
	})
	return err == nil, err
}

func (f *fakeAgents) Shutdown(_ context.Context, ip string, secrets keys.Secrets) (err error) {
	f.at(ip, func(a *fakeAgent) {
		if err = errSilent; !a.silent {
			a.secret, a.ended, err = secrets[0], true, nil
		}
	})
	return err
}

func (f *fakeAgents) Idle(_ context.Context, ip string, secrets keys.Secrets) (idle time.Duration, err error) {
	f.at(ip, func(a *fakeAgent) {
		if a.silent {
			err = errSilent
		}
		a.secret, idle = secrets[0], a.idle
	})
	return idle, err
}

func (f *fakeAgents) IdleToYield(ctx context.Context, ip string, secrets keys.Secrets) (idle time.Duration, err error) {
	if f.state(ip).unyielding {
		return 0, nil
	}
	return f.Idle(ctx, ip, secrets)
}

func (f *fakeAgents) Report(ctx context.Context, ip string, secrets keys.Secrets) (protocol.Report, error) {
	idle, err := f.Idle(ctx, ip, secrets)
	return protocol.Report{Idle: idle, Meter: f.state(ip).meter}, err
}

func (f *fakeAgents) ParkByHand(ctx context.Context, ip string, secrets keys.Secrets, idle time.Duration) (bool, error) {
	return f.Park(ctx, ip, secrets, idle)
}

func (f *fakeAgents) ParkForBudget(ctx context.Context, ip string, secrets keys.Secrets, idle time.Duration, whole bool) (bool, error) {
	f.at(ip, func(a *fakeAgent) { a.whole = whole })
	return f.Park(ctx, ip, secrets, idle)
}

func (f *fakeAgents) Notify(_ context.Context, ip string, secrets keys.Secrets, notice protocol.Notice) (err error) {
	f.at(ip, func(a *fakeAgent) {
		if err = errSilent; !a.silent {
			a.secret, err = secrets[0], nil
			a.notices = append(a.notices, notice.Text)
		}
	})
	return err
}

func (f *fakeAgents) Park(_ context.Context, ip string, secrets keys.Secrets, idle time.Duration) (will bool, err error) {
	f.at(ip, func(a *fakeAgent) {
		a.parkCalls++
		if err = errSilent; a.silent {
			return
		}
		a.secret, err = secrets[0], nil
		will = a.idle >= idle
		a.parked = a.parked || will
	})
	return will, err
}
