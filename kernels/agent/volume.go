package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// fileTime is how long an operation on a volume may take.
const fileTime = time.Minute

const (
	readBytes = 5 << 20  // at once: more than a chunk has
	listBytes = 16 << 20 // more than the names of a snapshot's chunks
)

// volume is the user's, to which run-kernel writes and from which it reads, as the
// user. What comes from there is whatever the user likes.
type volume struct{ processes *processes }

var _ store.Volume = volume{}

func (v volume) call(operation protocol.Operation, file protocol.FileCall, data []byte) (processAnswer, error) {
	answer, err := v.processes.callWith(protocol.ProcessCall{Operation: operation, File: &file}, data, fileTime)
	if err != nil {
		if fault := faults[answer.Fault]; fault != nil {
			err = fmt.Errorf("%w: %w", fault, err)
		}
		return answer, fmt.Errorf("%s %s: %w", operation, file.Name, err)
	}
	if answer.File == nil {
		answer.File = &protocol.FileAnswer{}
	}
	return answer, nil
}

var faults = map[protocol.FileFault]error{
	protocol.FaultAbsent:  fs.ErrNotExist,
	protocol.FaultBusy:    store.ErrBusy,
	protocol.FaultFull:    store.ErrVolumeFull,
	protocol.FaultForeign: store.ErrForeign,
}

func (v volume) Lock(name string, shared bool) (io.Closer, error) {
	answer, err := v.call(protocol.OperationLock, protocol.FileCall{Name: name, Shared: shared}, nil)
	if err != nil {
		return nil, err
	}
	return volumeLock{v, answer.File.Lock}, nil
}

type volumeLock struct {
	volume volume
	number uint64
}

func (l volumeLock) Close() error {
	_, err := l.volume.call(protocol.OperationUnlock, protocol.FileCall{Lock: l.number}, nil)
	return err
}

func (v volume) List(dir string) ([]store.Entry, error) {
	answer, err := v.call(protocol.OperationList, protocol.FileCall{Name: dir, Most: listBytes}, nil)
	if err != nil {
		return nil, err
	}
	var found []protocol.FileEntry
	if err := json.Unmarshal(answer.data, &found); err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	all := make([]store.Entry, len(found))
	for i, each := range found {
		all[i] = store.Entry{Name: each.Name, Size: each.Size, Directory: each.Directory, Changed: each.Changed}
	}
	return all, nil
}

func (v volume) Open(name string) (io.ReadCloser, int64, error) {
	file := &volumeFile{volume: v, name: name}
	if err := file.fill(); err != nil {
		return nil, 0, err
	}
	return file, file.size, nil
}

// volumeFile reads a file piece by piece, and never beyond the size that was told first.
type volumeFile struct {
	volume volume
	name   string
	size   int64
	offset int64 // of what follows data
	data   []byte
}

func (f *volumeFile) fill() error {
	answer, err := f.volume.call(protocol.OperationRead, protocol.FileCall{Name: f.name, Offset: f.offset, Most: readBytes}, nil)
	if err != nil {
		return err
	}
	if f.offset == 0 {
		f.size = max(answer.File.Size, 0)
	}
	f.data = answer.data[:min(int64(len(answer.data)), f.size-f.offset)]
	f.offset += int64(len(f.data))
	return nil
}

func (f *volumeFile) Read(into []byte) (int, error) {
	if len(f.data) == 0 && f.offset < f.size {
		if err := f.fill(); err != nil {
			return 0, err
		}
	}
	if len(f.data) == 0 {
		return 0, io.EOF
	}
	n := copy(into, f.data)
	f.data = f.data[n:]
	return n, nil
}

func (f *volumeFile) Close() error { return nil }

func (v volume) Write(name string, data []byte) error {
	_, err := v.call(protocol.OperationWrite, protocol.FileCall{Name: name}, data)
	return err
}

func (v volume) Sync(dir string) error {
	_, err := v.call(protocol.OperationSync, protocol.FileCall{Name: dir}, nil)
	return err
}

func (v volume) Remove(name string) error {
	_, err := v.call(protocol.OperationRemove, protocol.FileCall{Name: name}, nil)
	return err
}

func (v volume) Space() (free, total int64, err error) {
	answer, err := v.call(protocol.OperationSpace, protocol.FileCall{}, nil)
	if err != nil {
		return 0, 0, err
	}
	return answer.File.Free, answer.File.Total, nil
}
