package runkernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// Below the state directory of a Config, states of kernels are kept here.
var stateDirectory = []string{".elastichub", "kernels"}

// files does to files what the agent says, as the kernel's user: nobody else may
// write a home on every volume. It knows nothing of what is in them.
type files struct {
	base string // exists; empty: no states are kept

	mu     sync.Mutex
	volume *store.Directory
	number uint64
	locks  map[uint64]io.Closer
}

var errNoState = errors.New("no states are kept here")

// open makes the directory at the first need of it: nothing is left in the home
// of somebody whose kernels are never kept.
func (f *files) open() (*store.Directory, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.base == "" {
		return nil, errNoState
	}
	if f.volume == nil {
		volume, err := store.OpenDirectory(f.base, stateDirectory...)
		if err != nil {
			return nil, err
		}
		f.volume, f.locks = volume, map[uint64]io.Closer{}
	}
	return f.volume, nil
}

func (f *files) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, lock := range f.locks {
		_ = lock.Close()
	}
	f.locks = nil
	if f.volume != nil {
		_ = f.volume.Close()
	}
	f.volume, f.base = nil, ""
}

// obey carries out a call, with the bytes that followed it, and returns those
// that are to follow the answer.
func (f *files) obey(call protocol.ProcessCall, data []byte) (answer protocol.ProcessAnswer, following []byte) {
	answer.Number = call.Number
	what := protocol.FileCall{}
	if call.File != nil {
		what = *call.File
	}
	volume, err := f.open()
	if err == nil {
		answer.File = &protocol.FileAnswer{}
		following, err = f.carryOut(volume, call.Operation, what, data, answer.File)
	}
	if err == nil && len(following) > min(what.Most, protocol.PayloadBytes) {
		following, err = nil, fmt.Errorf("%d bytes are more than were asked for", len(following))
	}
	if err != nil {
		answer.Error, answer.Fault, answer.File = err.Error(), faultOf(err), nil
	}
	answer.Bytes = len(following)
	return answer, following
}

func (f *files) carryOut(volume *store.Directory, operation protocol.Operation, what protocol.FileCall, data []byte, answer *protocol.FileAnswer) ([]byte, error) {
	switch operation { //nolint:exhaustive // the others are not about files
	case protocol.OperationLock:
		lock, err := volume.Lock(what.Name, what.Shared)
		if err == nil {
			answer.Lock, err = f.hold(lock)
		}
		return nil, err
	case protocol.OperationUnlock:
		return nil, f.release(what.Lock)
	case protocol.OperationList:
		return list(volume, what.Name)
	case protocol.OperationRead:
		return read(volume, what, answer)
	case protocol.OperationWrite:
		return nil, volume.Write(what.Name, data)
	case protocol.OperationSync:
		return nil, volume.Sync(what.Name)
	case protocol.OperationRemove:
		return nil, volume.Remove(what.Name)
	case protocol.OperationSpace:
		var err error
		answer.Free, answer.Total, err = volume.Space()
		return nil, err
	}
	return nil, fmt.Errorf("there is no operation %q", operation)
}

// hold returns the number by which a lock is given back.
func (f *files) hold(lock io.Closer) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.locks == nil { // it has come too late
		return 0, errors.Join(errNoState, lock.Close())
	}
	f.number++
	f.locks[f.number] = lock
	return f.number, nil
}

func (f *files) release(number uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	lock, ok := f.locks[number]
	if !ok {
		return fmt.Errorf("there is no lock %d", number)
	}
	delete(f.locks, number)
	return lock.Close()
}

func list(volume *store.Directory, name string) ([]byte, error) {
	found, err := volume.List(name)
	if err != nil {
		return nil, err
	}
	all := make([]protocol.FileEntry, len(found))
	for i, each := range found {
		all[i] = protocol.FileEntry{Name: each.Name, Size: each.Size, Directory: each.Directory, Changed: each.Changed}
	}
	return json.Marshal(all)
}

func read(volume *store.Directory, what protocol.FileCall, answer *protocol.FileAnswer) ([]byte, error) {
	file, size, err := volume.Open(what.Name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	answer.Size = size
	left := size - what.Offset
	if left <= 0 || what.Offset < 0 {
		return nil, nil
	}
	if _, err := file.(io.Seeker).Seek(what.Offset, io.SeekStart); err != nil {
		return nil, err
	}
	data := make([]byte, min(left, int64(max(what.Most, 0)), protocol.PayloadBytes))
	n, err := io.ReadFull(file, data)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil // it has become shorter
	}
	return data[:n], err
}

func faultOf(err error) protocol.FileFault {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return protocol.FaultAbsent
	case errors.Is(err, store.ErrBusy):
		return protocol.FaultBusy
	case errors.Is(err, store.ErrVolumeFull):
		return protocol.FaultFull
	case errors.Is(err, store.ErrForeign):
		return protocol.FaultForeign
	}
	return ""
}
