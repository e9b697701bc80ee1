package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"time"
)

// chunkSize is the largest piece of a stream that is a file.
const chunkSize = 4 << 20

// maxOverhead is more than what packing and sealing add to a chunk.
const maxOverhead = 64

// chunkName is what a chunk's file is called.
var chunkName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Store is where one kernel's state is kept. There is at most one snapshot.
// Its methods may be called at any time by anybody: who would disturb another
// gets ErrBusy.
type Store struct {
	config Config
	volume Volume
	rings  []*ring
}

// Snapshot is what is known of a kernel's state without reading it.
type Snapshot struct {
	Run int64
	// Generation counts the snapshots of a kernel.
	Generation uint64
	SavedAt    time.Time
	ExpiresAt  time.Time
	// Header and Report are what the stream's H and Z frames say; the report is
	// without facts.
	Header json.RawMessage
	Report json.RawMessage
	// StreamBytes is the length of the stream without its void records,
	// StoredBytes what it takes on the volume, NewBytes how much of that was not
	// there before; only Commit knows the last.
	StreamBytes, StoredBytes, NewBytes int64
}

// Wanted is the snapshot that is asked for: any other is ErrOtherRun, also an
// older one that was put back.
type Wanted struct {
	Run int64
	// Generation is what Commit returned, 0 for whichever there is of the run.
	Generation uint64
}

// Open returns the store of a kernel. Nothing is read or written yet.
func Open(volume Volume, config Config) (*Store, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("keeping the state of a kernel: %w", err)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	s := &Store{config: config, volume: volume}
	for _, key := range config.Keys {
		keys, err := newRing(key, config.Kernel)
		if err != nil {
			return nil, err
		}
		s.rings = append(s.rings, keys)
	}
	return s, nil
}

// Find tells of the snapshot. Whether its data is whole, Load finds out.
func (s *Store) Find(wanted Wanted) (Snapshot, error) {
	m, _, err := s.find(wanted)
	if err != nil {
		return Snapshot{}, err
	}
	return m.snapshot(), nil
}

func (s *Store) find(wanted Wanted) (*manifest, *ring, error) {
	m, keys, err := s.readManifest()
	switch {
	case err != nil:
		return nil, nil, err
	case m.header.Run != wanted.Run:
		return nil, nil, fmt.Errorf("%w: it is of run %d, not %d", ErrOtherRun, m.header.Run, wanted.Run)
	case wanted.Generation != 0 && m.header.Generation != wanted.Generation:
		return nil, nil, fmt.Errorf("%w: it is snapshot %d, not %d", ErrOtherRun, m.header.Generation, wanted.Generation)
	case !s.config.Now().Before(m.header.Expires):
		return nil, nil, fmt.Errorf("%w: since %s", ErrExpired, m.header.Expires.Format(time.RFC3339))
	}
	return m, keys, nil
}

// Delete removes the snapshot and all that is the store's.
func (s *Store) Delete() error {
	lock, err := s.volume.Lock(s.path(lockFile), false)
	if err != nil {
		return err
	}
	defer lock.Close()
	return remove(s.volume, s.config.Kernel)
}

func (s *Store) path(names ...string) string {
	return path.Join(append([]string{s.config.Kernel}, names...)...)
}

func (s *Store) ring(id string) *ring {
	for _, keys := range s.rings {
		if keys.id == id {
			return keys
		}
	}
	return nil
}

// absent is no error where something is to be away.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
