package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// manifestFormat is raised when the former release could not read what is written.
const manifestFormat = 1

const (
	largestManifest = 32 << 20
	largestHeader   = 4 << 10
)

// manifest is what makes chunks a snapshot.
type manifest struct {
	header header
	body   body
}

// header is the manifest's first line. It is authenticated, and not secret:
// whoever sweeps has not the key.
type header struct {
	Format     int       `json:"format"`
	Kernel     string    `json:"kernel"`
	Key        string    `json:"key"`
	Run        int64     `json:"run"`
	Generation uint64    `json:"generation"`
	Saved      time.Time `json:"saved"`
	Expires    time.Time `json:"expires"`
}

// body is sealed.
type body struct {
	Header json.RawMessage `json:"header"`
	Report json.RawMessage `json:"report"`
	Chunks []*chunk        `json:"chunks"`
}

// chunk is a part of the stream.
type chunk struct {
	Name   string `json:"name"`
	Size   int    `json:"size"`
	Sealed int64  `json:"sealed"` // its file's
	// Use is how much of it is the stream's. The rest was a void record's.
	Use int `json:"use"`
}

func (c chunk) valid() bool {
	return chunkName.MatchString(c.Name) && 0 < c.Use && c.Use <= c.Size && c.Size <= chunkSize &&
		0 < c.Sealed && c.Sealed <= chunkSize+maxOverhead
}

func (m *manifest) snapshot() Snapshot {
	found := Snapshot{
		Run: m.header.Run, Generation: m.header.Generation, SavedAt: m.header.Saved, ExpiresAt: m.header.Expires,
		Header: m.body.Header, Report: m.body.Report,
	}
	for _, sealed := range m.files() {
		found.StoredBytes += sealed
	}
	for _, c := range m.body.Chunks {
		found.StreamBytes += int64(c.Use)
	}
	return found
}

// files are the chunks' and their sizes, each once.
func (m *manifest) files() map[string]int64 {
	all := make(map[string]int64, len(m.body.Chunks))
	for _, c := range m.body.Chunks {
		all[c.Name] = c.Sealed
	}
	return all
}

func (m *manifest) encode(keys *ring) ([]byte, error) {
	head, err := json.Marshal(m.header)
	if err != nil {
		return nil, err
	}
	inner, err := json.Marshal(m.body)
	if err != nil {
		return nil, err
	}
	if len(inner) > largestManifest-largestHeader {
		return nil, fmt.Errorf("%w: its list has %d bytes", ErrTooLarge, len(inner))
	}
	return append(append(head, '\n'), keys.sealManifest(head, inner)...), nil
}

// readManifest returns the kernel's manifest once it is authenticated, and the
// keys by which it was.
func (s *Store) readManifest() (*manifest, *ring, error) {
	raw, err := readManifestFile(s.volume, s.path(manifestFile))
	if err != nil {
		return nil, nil, err
	}
	head, sealed, _ := bytes.Cut(raw, []byte("\n"))
	found, err := decodeHeader(head)
	if err != nil {
		return nil, nil, err
	}
	if found.Kernel != s.config.Kernel {
		return nil, nil, fmt.Errorf("%w: of %q", ErrOtherKernel, found.Kernel)
	}
	keys := s.ring(found.Key)
	if keys == nil {
		return nil, nil, ErrOtherKey
	}
	inner, err := keys.openManifest(head, sealed)
	if err != nil {
		return nil, nil, damagedManifest(err)
	}
	m := &manifest{header: found}
	if err := json.Unmarshal(inner, &m.body); err != nil {
		return nil, nil, damagedManifest(err)
	}
	for _, c := range m.body.Chunks {
		if c == nil || !c.valid() {
			return nil, nil, damagedManifest(errors.New("a chunk that cannot be"))
		}
	}
	return m, keys, nil
}

func readManifestFile(volume Volume, name string) ([]byte, error) {
	file, size, err := volume.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoSnapshot
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if size > largestManifest {
		return nil, damagedManifest(fmt.Errorf("it has %d bytes", size))
	}
	raw := make([]byte, size)
	if _, err := io.ReadFull(file, raw); err != nil {
		return nil, err
	}
	return raw, nil
}

// decodeHeader reads what is not authenticated yet.
func decodeHeader(line []byte) (header, error) {
	if len(line) > largestHeader {
		return header{}, damagedManifest(errors.New("its first line is too long"))
	}
	var found header
	if err := json.Unmarshal(line, &found); err != nil {
		return header{}, damagedManifest(err)
	}
	if found.Format != manifestFormat {
		return header{}, fmt.Errorf("%w: %d", ErrUnknownFormat, found.Format)
	}
	return found, nil
}

func damagedManifest(reason error) error {
	return &DamagedError{File: manifestFile, Err: reason}
}

// brief is a report without what is said of every variable: whoever shows what
// was kept does not need it, and the stream has it.
func brief(report json.RawMessage) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(report, &fields); err != nil {
		return nil, err
	}
	delete(fields, "facts")
	return json.Marshal(fields)
}
