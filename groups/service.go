package groups

import (
	"context"
	"fmt"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// PolicyLister gives the policies that hold now, usually from an informer.
type PolicyLister interface {
	Policies(ctx context.Context) ([]v1alpha1.GroupPolicy, error)
}

// Service answers what a user may have.
type Service struct {
	members   Members
	policies  PolicyLister
	matching  Matching
	receivers []SignInReceiver
	ambiguous ambiguousNames
}

// NewService combines members with the policies. The receivers are those of
// its sources that answer from what the Hub sends.
func NewService(members Members, policies PolicyLister, matching Matching, receivers ...SignInReceiver) *Service {
	return &Service{members: members, policies: policies, matching: matching, receivers: receivers}
}

// Present tells the sources what the Hub has sent of a user's sign-in. It asks
// nobody and verifies nothing: the next lookup does.
func (s *Service) Present(user string, signIn SignIn) {
	for _, receiver := range s.receivers {
		receiver.Present(user, signIn)
	}
}

// Allowance is what the user may have, by groups no older than the cache's
// TTL. Its errors wrap ErrUnknownUser, ErrNoPolicy, ErrInvalidPolicy,
// ErrSignInAgain or ErrUnavailable.
func (s *Service) Allowance(ctx context.Context, user string) (Allowance, error) {
	return s.resolve(ctx, user, s.members.Lookup)
}

// AllowanceNow asks the source even when the cache is young: a group removed a
// moment ago counts. Starts use it; forms and polls use Allowance. While the
// source is down it answers as Allowance does.
func (s *Service) AllowanceNow(ctx context.Context, user string) (Allowance, error) {
	return s.resolve(ctx, user, func(ctx context.Context, user string) (Membership, error) {
		m, err := s.members.Refresh(ctx, user)
		if err == nil {
			if policies, err := s.policies.Policies(ctx); err == nil {
				s.ambiguous.check(m, policies)
			}
		}
		return m, err
	})
}

func (s *Service) resolve(ctx context.Context, user string, lookup func(context.Context, string) (Membership, error)) (Allowance, error) {
	m, err := lookup(ctx, user)
	if err != nil {
		return Allowance{}, err
	}
	policies, err := s.policies.Policies(ctx)
	if err != nil {
		return Allowance{}, fmt.Errorf("%w: list policies: %w", ErrUnavailable, err)
	}
	return Resolve(m, policies, s.matching)
}
