package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// tripper is what makes round trips: a client of a server, or of a kernel.
type tripper interface {
	roundTrip(ctx context.Context, code string) (reply, idle time.Duration, err error)
	close()
}

// series is one way to a kernel. Every way has a kernel process of its own, so
// that no client sees what another one causes.
type series struct {
	Way    string `json:"way"`
	Kernel string `json:"kernel"`
	// Reply is the time to execute_reply, Done that until the kernel has also said that it is idle.
	Reply summary `json:"reply"`
	Done  summary `json:"done"`
	// Added is what Reply and Done have over the direct way's: at p50 the median
	// over the rounds of what the medians of a round differ by, at p99 the
	// difference over everything.
	Added added `json:"added"`

	few         bool // samples are enough
	open        func(context.Context) (tripper, error)
	reply, done times
	rounds      []roundMedian
}

type roundMedian struct{ reply, done float64 }

type added struct {
	ReplyP50 float64 `json:"replyP50"`
	ReplyP99 float64 `json:"replyP99"`
	DoneP50  float64 `json:"doneP50"`
	DoneP99  float64 `json:"doneP99"`
}

// Of each kernel there are several generations of processes, which differ a
// little, and in each generation several rounds in which every way gets its
// turn, in random order: what disturbs the machine disturbs all of them.
const (
	tripGenerations = 3
	tripRounds      = 20
	tripSamples     = 20 // per way and round
	tripWarmUp      = 20
	tripFew         = 5 // of a way that takes long
	tripPatience    = 30 * time.Second
)

const directWay = "direct ZMQ"

// roundTrips measures a cell that does nothing.
func roundTrips(ctx context.Context, b *bench) (any, error) {
	ours, err := b.site(ctx)
	if err != nil {
		return nil, err
	}
	eg, err := b.enterpriseGateway(ctx)
	if err != nil {
		return nil, err
	}
	var all []*series
	for _, kernel := range []struct {
		name, spec string
		argv       []string
	}{{"ipykernel", peerIPykernel, b.ipykernel()}, {"synthetic", peerSynthetic, b.synthetic()}} {
		set := []*series{{Way: directWay, open: func(ctx context.Context) (tripper, error) { return startTripper(ctx, b, kernel.argv) }}}
		for _, f := range []framing{v1, legacy} {
			set = append(set,
				&series{Way: "elastichub, " + string(f), open: func(ctx context.Context) (tripper, error) { return ours.client(ctx, kernel.argv, f) }},
				&series{Way: "EG, quick ACK, " + string(f), open: func(ctx context.Context) (tripper, error) { return eg.quick().client(ctx, kernel.spec, f) }})
		}
		set = append(set, &series{Way: "EG, legacy", few: true, open: func(ctx context.Context) (tripper, error) { return eg.client(ctx, kernel.spec, legacy) }})
		for _, s := range set {
			s.Kernel = kernel.name
		}
		for generation := range tripGenerations {
			b.say("  %s, processes %d of %d", kernel.name, generation+1, tripGenerations)
			if err := trips(ctx, set); err != nil {
				return nil, err
			}
		}
		reference := set[0]
		for _, s := range set {
			s.Reply, s.Done = s.reply.summary(), s.done.summary()
			if s != reference {
				s.Added = s.over(reference)
			}
		}
		all = append(all, set...)
	}
	for _, s := range all {
		b.say("  %-9s  %-26s reply %s   done %s", s.Kernel, s.Way, s.Reply, s.Done)
	}
	for _, s := range all {
		if s.Way != directWay {
			b.say("  %-9s  %-26s adds to the reply p50 %7.3f p99 %7.3f ms, until idle p50 %7.3f p99 %7.3f ms", s.Kernel, s.Way, s.Added.ReplyP50, s.Added.ReplyP99, s.Added.DoneP50, s.Added.DoneP99)
		}
	}
	return all, nil
}

// over is what s adds to a reference that had the same rounds.
func (s *series) over(reference *series) added {
	var reply, done []float64
	for i, r := range s.rounds {
		reply = append(reply, r.reply-reference.rounds[i].reply)
		done = append(done, r.done-reference.rounds[i].done)
	}
	return added{
		ReplyP50: round(quantile(reply, 0.5), 3), ReplyP99: round(s.Reply.P99-reference.Reply.P99, 3),
		DoneP50: round(quantile(done, 0.5), 3), DoneP99: round(s.Done.P99-reference.Done.P99, 3),
	}
}

// trips is one generation.
func trips(ctx context.Context, set []*series) error {
	trippers := make([]tripper, len(set))
	for i, s := range set {
		var err error
		if trippers[i], err = s.open(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.Way, err)
		}
		defer trippers[i].close()
		for range tripWarmUp {
			if _, _, err := trippers[i].roundTrip(ctx, "pass"); err != nil {
				return fmt.Errorf("%s: %w", s.Way, err)
			}
		}
	}
	for range tripRounds {
		for _, i := range rand.Perm(len(set)) {
			samples := tripSamples
			if set[i].few {
				samples = tripFew
			}
			first := len(set[i].reply)
			for range samples {
				reply, done, err := trippers[i].roundTrip(ctx, "pass")
				if err != nil {
					return fmt.Errorf("%s: %w", set[i].Way, err)
				}
				set[i].reply.add(reply)
				set[i].done.add(done)
			}
			set[i].rounds = append(set[i].rounds, roundMedian{quantile(set[i].reply[first:], 0.5), quantile(set[i].done[first:], 0.5)})
		}
	}
	return nil
}

// owned is a session with a kernel of its own.
type owned struct {
	*session
	remove func()
}

func (o *owned) close() {
	o.session.close()
	o.remove()
}

// client starts an agent and a kernel and connects to it through the gateway.
func (s *site) client(ctx context.Context, argv []string, f framing) (*owned, error) {
	id, agent, err := s.kernel(ctx, argv)
	if err != nil {
		return nil, err
	}
	return connect(ctx, s.server, id, f, agent.stop)
}

// client starts a kernel and connects to it.
func (p *peer) client(ctx context.Context, spec string, f framing) (*owned, error) {
	id, err := p.startKernel(ctx, spec)
	if err != nil {
		return nil, err
	}
	return connect(ctx, p.server, id, f, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer cancel()
		_ = p.call(ctx, "DELETE", "/api/kernels/"+id, nil, nil) // else it ends with the server
	})
}

func connect(ctx context.Context, s *server, id string, f framing, remove func()) (*owned, error) {
	session, err := s.open(ctx, id, f)
	if err != nil {
		remove()
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, tripPatience)
	defer cancel()
	if err := session.ask(limited); err != nil {
		session.close()
		remove()
		return nil, fmt.Errorf("%s: no kernel_info_reply: %w", s.name, err)
	}
	return &owned{session, remove}, nil
}
