package spawner

import "context"

// Running counts the user's servers, but for the key's own, that the limit on
// servers counts: those that run or are to run. It is what this replica knows,
// for people to read; the limit itself is kept by Start.
func (s *Service) Running(_ context.Context, k Key) (int, error) { return s.snapshot.running(k) }

func (s *snapshot) running(k Key) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.synced() {
		return 0, ErrNotSynced
	}
	n := 0
	for _, nb := range s.servers {
		own := belongsTo(nb, k) && nb.Spec.Server == k.Server
		if countsFor(nb, k) && !own && nb.CountsAsRunning() {
			n++
		}
	}
	return n, nil
}
