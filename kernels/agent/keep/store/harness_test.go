package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/keep/frames"
	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

const (
	kernel  = "0b8f7d0e-5d0f-4a68-9a86-1c1f6f0a7a11"
	another = "77777777-5d0f-4a68-9a86-1c1f6f0a7a11"
	week    = 7 * 24 * time.Hour
)

var (
	key     = store.Key{1, 2, 3}
	started = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
)

func config() store.Config {
	return store.Config{Kernel: kernel, Keys: []store.Key{key}, TTL: week, Now: func() time.Time { return started }}
}

// home is an empty volume and the directory that it is.
func home(t testing.TB) (*store.Directory, string) {
	t.Helper()
	dir := t.TempDir()
	volume, err := store.OpenDirectory(dir, ".elastichub", "kernels")
	require.NoError(t, err)
	t.Cleanup(func() { volume.Close() })
	return volume, filepath.Join(dir, ".elastichub", "kernels")
}

func open(t testing.TB, volume store.Volume, change ...func(*store.Config)) *store.Store {
	t.Helper()
	c := config()
	for _, each := range change {
		each(&c)
	}
	s, err := store.Open(volume, c)
	require.NoError(t, err)
	return s
}

// save makes a stream the snapshot of a run.
func save(t testing.TB, s *store.Store, run int64, stream []byte) store.Snapshot {
	t.Helper()
	draft, err := s.Save(t.Context(), run, bytes.NewReader(stream))
	require.NoError(t, err)
	snapshot, err := draft.Commit()
	require.NoError(t, err)
	return snapshot
}

func load(t testing.TB, s *store.Store, run int64) ([]byte, error) {
	t.Helper()
	var back bytes.Buffer
	_, err := s.Load(t.Context(), store.Wanted{Run: run}, &back)
	return back.Bytes(), err
}

// stream is one in the making. What of it is void is not in kept.
type stream struct {
	all, kept []byte
	records   int
}

func newStream() *stream {
	s := &stream{}
	s.both(frames.Header, []byte(`{"format":1,"python":"3.11.2","variables":2,"records":2}`))
	return s
}

func frame(letter frames.Letter, payload []byte) []byte {
	head := frames.Frame{Letter: letter, Size: int64(len(payload))}.AppendHead(nil)
	return append(head, payload...)
}

func (s *stream) both(letter frames.Letter, payload []byte) {
	s.all = append(s.all, frame(letter, payload)...)
	s.kept = append(s.kept, frame(letter, payload)...)
}

// record adds a record of buffers, each behind a piece of a pickle.
func (s *stream) record(name string, buffers ...[]byte) {
	s.both(frames.Record, s.about(name))
	s.records++
	for _, each := range buffers {
		s.both(frames.Pickle, []byte("pickle of "+name))
		s.both(frames.Hint, []byte(`{"as":"torch"}`))
		s.both(frames.Buffer, each)
	}
	s.both(frames.Complete, nil)
}

// void adds a record that is taken back.
func (s *stream) void(name string, buffers ...[]byte) {
	s.all = append(s.all, frame(frames.Record, s.about(name))...)
	for _, each := range buffers {
		s.all = append(s.all, frame(frames.ReadOnly, each)...)
	}
	s.all = append(s.all, frame(frames.Void, nil)...)
}

func (s *stream) about(name string) []byte {
	return fmt.Appendf(nil, `{"i":%d,"k":"variable","n":%q,"t":"list","c":3}`, s.records, name)
}

func (s *stream) end() *stream {
	s.both(frames.End, []byte(`{"outcome":"saved","whole":true,"variables":2,"facts":{"a":["int","5"]}}`))
	return s
}

// small is a stream of two chunks or three.
func small(text string) []byte {
	s := newStream()
	s.record("secret_name", []byte(text))
	s.void("gone", []byte("gone"))
	s.record("b", noise(1, 1<<20))
	return s.end().kept
}

func noise(seed uint64, size int) []byte {
	data := make([]byte, size)
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = source.Read(data)
	return data
}

// files are the store's files below a directory, the lock apart, with what is in them.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || entry.Name() == "lock" {
			return err
		}
		raw, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all[name] = string(raw)
		return err
	})
	require.NoError(t, err)
	return all
}

// chunks are the names of files that are chunks.
func chunks(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	for name := range files(t, dir) {
		if strings.Contains(name, "/chunks/") {
			all = append(all, name)
		}
	}
	return all
}

var errBroken = errors.New("broken for the test")

// faulty is a volume that breaks at one of its writes, and, if it dies, answers
// nothing from then on, as when the process is killed there.
type faulty struct {
	store.Volume
	at      int // the write that fails, from 1
	dies    bool
	writes  int
	problem error
}

// turn is called before everything that changes the volume.
func (f *faulty) turn() error {
	f.writes++
	if f.writes == f.at || f.dies && f.at != 0 && f.writes > f.at {
		return f.problem
	}
	return nil
}

func (f *faulty) Write(name string, data []byte) error {
	if err := f.turn(); err != nil {
		if f.writes == f.at { // half of it is there
			_ = f.Volume.Write(name+".new", data[:len(data)/2])
		}
		return err
	}
	return f.Volume.Write(name, data)
}

func (f *faulty) Sync(dir string) error {
	if err := f.turn(); err != nil {
		return err
	}
	return f.Volume.Sync(dir)
}

func (f *faulty) Remove(name string) error {
	if err := f.turn(); err != nil {
		return err
	}
	return f.Volume.Remove(name)
}
