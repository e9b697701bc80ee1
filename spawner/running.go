package spawner

import "context"

// Running counts the user's servers, but for the one called except, that the
// limit on servers counts: those that run or are to run. It is what this
// replica knows, for people to read; the limit itself is kept by Start.
func (s *Service) Running(_ context.Context, user, except string) (int, error) {
	return s.snapshot.running(user, except)
}

func (s *snapshot) running(user, except string) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.synced() {
		return 0, ErrNotSynced
	}
	n := 0
	for key, nb := range s.servers {
		if key.User == user && key.Server != except && !nb.Spec.Stopped && !givenUp(nb) && nb.DeletionTimestamp == nil {
			n++
		}
	}
	return n, nil
}
