package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/elastichub/elastichub/hubapi"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/rotation"
	"github.com/elastichub/elastichub/skew"
	"github.com/elastichub/elastichub/tokens"
)

// secrets are those that the service reads again while it runs. Each may be nil but the signing one.
type secrets struct {
	signing, hub, keep *rotation.Live
	issuer             *tokens.Issuer
	log                *slog.Logger
}

// openSecrets reads them for the first time.
func openSecrets(config serveConfig, log *slog.Logger) (*secrets, error) {
	s := &secrets{issuer: &tokens.Issuer{}, log: log}
	open := func(into **rotation.Live, path, file string, check func(rotation.Values) error) error {
		if file == "" {
			return nil
		}
		live, err := rotation.Open(file, check, log, time.Now)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		*into = live
		return nil
	}
	err := errors.Join(
		open(&s.signing, "signing.seedFile", config.Signing.SeedFile, func(v rotation.Values) error {
			seeds, err := signingSeeds(v)
			if err != nil {
				return err
			}
			return (&tokens.Issuer{}).Replace(seeds)
		}),
		open(&s.hub, "hubAPI.tokenFile", config.HubAPI.TokenFile, func(v rotation.Values) error {
			return hubapi.CheckTokens(v.Counting(time.Time{})...)
		}),
		open(&s.keep, "kernels.keep.seedFile", config.Kernels.Keep.SeedFile, func(v rotation.Values) error {
			_, err := keepSeeds(v)
			return err
		}),
	)
	if err != nil {
		return nil, err
	}
	return s, s.sign(s.signing.Values())
}

func (s *secrets) sign(values rotation.Values) error {
	seeds, err := signingSeeds(values)
	if err != nil {
		return err
	}
	return s.issuer.Replace(seeds)
}

// NeedLeaderElection: every replica reads them.
func (s *secrets) NeedLeaderElection() bool { return false }

// Start follows the key of tokens until ctx ends. The others are read when they are used.
func (s *secrets) Start(ctx context.Context) error {
	first := true
	s.signing.Follow(ctx, func(values rotation.Values) {
		if err := s.sign(values); err != nil {
			s.log.Error("the key that signs tokens cannot be changed", "error", err)
			return
		}
		if !first {
			s.log.Info("the key that signs tokens has changed", "former", values.FormerCounts(time.Now()), "next", values.Next != "")
		}
		first = false
	})
	return nil
}

// hubTokens are those by which the Hub is let in; nil: there is no Hub.
func (s *secrets) hubTokens() func() []string {
	if s.hub == nil {
		return nil
	}
	return s.hub.Counting
}

// keepSeeds are what states of kernels are sealed with; nil: none are kept. A former one
// opens what it has sealed for as long as it is there.
func (s *secrets) keepSeeds() keys.KeepSeeds {
	if s.keep == nil {
		return nil
	}
	return func() [][]byte {
		seeds, err := keepSeeds(s.keep.Values())
		if err != nil { // was checked when it was read
			s.log.Error("the seeds of kept states cannot be read", "error", err)
		}
		return seeds
	}
}

// marks is the handler by which `elastichub rotate` learns what this replica has read.
// sealed is the console's mark, nil where there is none.
func (s *secrets) marks(sealed func() string) http.Handler {
	of := map[string]func() string{"signing": s.issuer.Mark}
	if s.hub != nil {
		of["hub-token"] = func() string { return s.hub.Values().Mark }
	}
	if s.keep != nil {
		of["keep"] = func() string { return s.keep.Values().Mark }
	}
	if sealed != nil {
		of["portal"] = sealed
	}
	return rotation.Marks(of)
}

func signingSeeds(v rotation.Values) (tokens.Seeds, error) {
	seeds := tokens.Seeds{FormerUntil: v.FormerUntil, Mark: v.Mark}
	for key, of := range map[*[]byte]string{&seeds.Current: v.Current, &seeds.Next: v.Next, &seeds.Former: v.Former} {
		seed, err := base64.StdEncoding.DecodeString(of)
		if err != nil {
			return tokens.Seeds{}, errors.New("a seed is not base64")
		}
		*key = seed
	}
	return seeds, nil
}

func keepSeeds(v rotation.Values) ([][]byte, error) {
	v.FormerUntil = time.Time{}
	var seeds [][]byte
	for _, text := range v.Counting(time.Time{}) {
		seed, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, errors.New("a seed is not base64")
		}
		if len(seed) != keys.Size {
			return nil, fmt.Errorf("a seed has %d bytes, want %d", len(seed), keys.Size)
		}
		seeds = append(seeds, seed)
	}
	return seeds, nil
}

// withMarks answers rotation.Path and skew.Path itself.
func withMarks(marks, versions, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case rotation.Path:
			marks.ServeHTTP(w, r)
		case skew.Path:
			versions.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
