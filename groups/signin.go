package groups

import (
	"container/list"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Errors of sources that answer from what a user's sign-in said.
var (
	// ErrSignInAgain: what the user's sign-in said is missing, wrong or too
	// old. Signing in again brings something new.
	ErrSignInAgain = errors.New("groups: the user has to sign in again")
	// ErrSignInExpired is an ErrSignInAgain of a sign-in that is missing or
	// too old. A cache may bridge it, within its stale limit.
	ErrSignInExpired = fmt.Errorf("%w: expired", ErrSignInAgain)
)

// Token is a secret that never shows itself, whoever prints it.
type Token string

// String implements fmt.Stringer; so do the methods below for their callers.
func (t Token) String() string {
	if t == "" {
		return "no token"
	}
	return "a token"
}

// GoString is for %#v.
func (t Token) GoString() string { return t.String() }

// LogValue is for slog.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText keeps it out of whatever is encoded.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// SignIn is what the Hub knows of a user's sign-in and sends with a question
// about the user. Nothing of it is verified yet.
type SignIn struct {
	IDToken     Token
	AccessToken Token
	// Groups are those of the Hub; nil when it sent none, which is not the
	// same as an empty list.
	Groups []string
}

// SignInReceiver gets what the Hub says of a sign-in, and answers from it later.
type SignInReceiver interface {
	Present(user string, signIn SignIn)
}

// Bounds of what a SignIns remembers. Tokens have 1 to 4 kB as a rule.
const (
	maxSignIns     = 10_000
	maxSignInBytes = 48 << 20
)

// SignIns remembers one value for each user, the last; the users that were
// presented longest ago go first. It is safe for concurrent use.
type SignIns[T any] struct {
	size func(T) int

	mu     sync.Mutex
	byUser map[string]*list.Element
	recent *list.List // of signedIn[T], last presented first
	bytes  int
}

type signedIn[T any] struct {
	user  string
	at    time.Time
	value T
}

// NewSignIns is empty; size says how many bytes a value takes.
func NewSignIns[T any](size func(T) int) *SignIns[T] {
	return &SignIns[T]{size: size, byUser: map[string]*list.Element{}, recent: list.New()}
}

// Put replaces the user's value.
func (s *SignIns[T]) Put(user string, at time.Time, value T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, known := s.byUser[user]; known {
		s.drop(old)
	}
	s.byUser[user] = s.recent.PushFront(signedIn[T]{user, at, value})
	s.bytes += s.size(value)
	for s.recent.Len() > maxSignIns || s.bytes > maxSignInBytes {
		s.drop(s.recent.Back())
	}
}

func (s *SignIns[T]) drop(e *list.Element) {
	gone := s.recent.Remove(e).(signedIn[T])
	delete(s.byUser, gone.user)
	s.bytes -= s.size(gone.value)
}

// Get returns the user's value and when it was put.
func (s *SignIns[T]) Get(user string) (value T, at time.Time, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, known := s.byUser[user]
	if !known {
		return value, at, false
	}
	found := e.Value.(signedIn[T])
	return found.value, found.at, true
}

// Forget drops the user's value.
func (s *SignIns[T]) Forget(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, known := s.byUser[user]; known {
		s.drop(e)
	}
}
