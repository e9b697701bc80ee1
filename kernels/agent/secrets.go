package agent

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/rotation"
)

// secrets are those by which callers are known. The Pod's Secret is changed when the key of
// the gateway is rotated: another secret counts then, the former beside it or not, and the
// certificate is that of the current one.
type secrets struct {
	live *rotation.Live // nil: there is one, for ever
	log  *slog.Logger

	mu       sync.Mutex
	counting []keys.Secret // the current one first
	server   *tls.Config
	passing  map[*admission]struct{}
}

// admission is a request that is under way, and the secret that has let it in.
type admission struct {
	secret keys.Secret
	conn   net.Conn
}

func newSecrets(cfg Config, log *slog.Logger) (*secrets, error) {
	s := &secrets{log: log, passing: map[*admission]struct{}{}}
	if cfg.SecretFile == "" {
		return s, s.take([]keys.Secret{cfg.Secret})
	}
	live, err := rotation.Open(cfg.SecretFile, func(v rotation.Values) error {
		_, err := parseSecrets(v.Current, v.Next, v.Former)
		return err
	}, log, time.Now)
	if err != nil {
		return nil, err
	}
	s.live = live
	return s, s.look()
}

// parseSecrets parses those that are not empty.
func parseSecrets(texts ...string) (all []keys.Secret, err error) {
	for _, text := range texts {
		if text == "" {
			continue
		}
		secret, err := keys.Parse(text)
		if err != nil {
			return nil, err
		}
		all = append(all, secret)
	}
	return all, nil
}

// look reads what counts now.
func (s *secrets) look() error {
	found, err := parseSecrets(s.live.Counting()...)
	if err != nil {
		return err
	}
	return s.take(found)
}

// take has these count, and cuts off who was let in by another.
func (s *secrets) take(counting []keys.Secret) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.counting) == 0 || s.counting[0] != counting[0] {
		server, err := counting[0].ServerTLS()
		if err != nil {
			return err
		}
		if s.server != nil {
			s.log.Info("another secret of the gateway's key counts")
		}
		s.server = server
	}
	s.counting = counting
	for a := range s.passing {
		if !s.counts(a.secret) {
			_ = a.conn.Close()
		}
	}
	return nil
}

func (s *secrets) counts(secret keys.Secret) bool {
	for _, one := range s.counting {
		if one == secret {
			return true
		}
	}
	return false
}

// follow reads the Secret again until ctx ends.
func (s *secrets) follow(ctx context.Context) {
	if s.live == nil {
		return
	}
	tick := time.NewTicker(rotation.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.look(); err != nil {
				s.log.Error("the agent's secret cannot be used; the one before goes on", slog.Any("error", err))
			}
		}
	}
}

// serverTLS is that of the agent's server, whatever secret is the current one.
func (s *secrets) serverTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.server, nil
	}}
}

// admit lets a request in that presents a secret that counts. It has to leave, and its
// connection is closed when the secret counts no more.
func (s *secrets) admit(authorization string, conn net.Conn) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range s.counting {
		if !secret.Accepts(authorization) {
			continue
		}
		a := &admission{secret, conn}
		s.passing[a] = struct{}{}
		return func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.passing, a)
		}, true
	}
	return nil, false
}
