package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/keep/frames"
	"github.com/elastichub/elastichub/kernels/agent/keep/store"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/agent/runkernel"
)

// besideRunKernel is a volume in a home that a run-kernel writes.
func besideRunKernel(t *testing.T, home string) volume {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "agent", "control")
	listener, err := listenForProcesses(socket)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		ended <- runkernel.Run(context.Background(), runkernel.Config{Socket: socket, Files: filepath.Join(dir, "kernel"), Output: io.Discard, State: home}, []string{"sleep", "60"})
	}()
	p, err := acceptProcesses(t.Context(), listener)
	require.NoError(t, err)
	t.Cleanup(func() {
		p.end()
		require.NoError(t, <-ended)
	})
	return volume{p}
}

func streamOf(buffer []byte) []byte {
	var s []byte
	frame := func(letter frames.Letter, payload []byte) {
		s = append(frames.Frame{Letter: letter, Size: int64(len(payload))}.AppendHead(s), payload...)
	}
	frame(frames.Header, []byte(`{"format":1}`))
	frame(frames.Record, []byte(`{"i":0,"k":"variable","n":"a","t":"bytes"}`))
	frame(frames.Buffer, buffer)
	frame(frames.Complete, nil)
	frame(frames.End, []byte(`{"outcome":"saved"}`))
	return s
}

// TestAStateIsKeptByWayOfRunKernel, and is what a store on the directory itself
// reads. Signals do not wait for it.
func TestAStateIsKeptByWayOfRunKernel(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	v := besideRunKernel(t, home)
	config := store.Config{Kernel: "0b8f7d0e-5d0f-4a68-9a86-1c1f6f0a7a11", Keys: []store.Key{{1}}, TTL: time.Hour, FreePercent: 1}
	far, err := store.Open(v, config)
	require.NoError(t, err)
	_, err = far.Find(store.Wanted{Run: 1})
	require.ErrorIs(t, err, store.ErrNoSnapshot)
	_, err = far.Load(t.Context(), store.Wanted{Run: 1}, io.Discard)
	require.ErrorIs(t, err, store.ErrNoSnapshot)

	buffer := make([]byte, 9<<20)
	_, _ = rand.Read(buffer)
	stream := streamOf(buffer)
	draft, err := far.Save(t.Context(), 1, bytes.NewReader(stream))
	require.NoError(t, err)
	_, err = far.Save(t.Context(), 1, bytes.NewReader(stream))
	require.ErrorIs(t, err, store.ErrBusy)
	snapshot, err := draft.Commit()
	require.NoError(t, err)
	assert.Equal(t, int64(len(stream)), snapshot.StreamBytes)

	directory, err := store.OpenDirectory(home, ".elastichub", "kernels")
	require.NoError(t, err)
	defer directory.Close()
	near, err := store.Open(directory, config)
	require.NoError(t, err)
	for name, s := range map[string]*store.Store{"far": far, "near": near} {
		var back bytes.Buffer
		_, err := s.Load(t.Context(), store.Wanted{Run: 1}, &back)
		require.NoError(t, err, name)
		assert.True(t, bytes.Equal(stream, back.Bytes()), name)
	}

	lock, err := directory.Lock(config.Kernel+"/lock", false)
	require.NoError(t, err)
	require.ErrorIs(t, far.Delete(), store.ErrBusy)
	require.NoError(t, lock.Close())
	require.NoError(t, far.Delete())
	assert.NoDirExists(t, filepath.Join(home, ".elastichub", "kernels", config.Kernel))
}

func TestWhatIsNotTheVolumes(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	v := besideRunKernel(t, home)
	kernels := filepath.Join(home, ".elastichub", "kernels")
	require.NoError(t, v.Write("k/chunks/a", []byte("1234567")))
	require.NoError(t, v.Sync("k/chunks"))
	require.NoError(t, syscall.Mkfifo(filepath.Join(kernels, "k", "fifo"), 0o600))
	require.NoError(t, os.Symlink("/etc", filepath.Join(kernels, "link")))

	found, err := v.List("k")
	require.NoError(t, err)
	require.Len(t, found, 1)
	assert.Equal(t, "chunks", found[0].Name)
	assert.True(t, found[0].Directory)
	found, err = v.List("k/chunks")
	require.NoError(t, err)
	require.Len(t, found, 1)
	assert.Equal(t, int64(7), found[0].Size)
	assert.WithinDuration(t, time.Now(), found[0].Changed, time.Hour)

	_, _, err = v.Open("k/chunks/b")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, _, err = v.Open("k/fifo")
	require.ErrorIs(t, err, store.ErrForeign)
	require.ErrorIs(t, v.Write("link/a", nil), store.ErrForeign)
	require.Error(t, v.Write("../a", nil))
	free, total, err := v.Space()
	require.NoError(t, err)
	assert.Positive(t, free)
	assert.Greater(t, total, free)
	require.NoError(t, v.Remove("k/chunks/a"))
	require.ErrorIs(t, v.Remove("k/chunks/a"), fs.ErrNotExist)
}

// TestNothingIsKeptWithoutADirectory: nothing is made anywhere.
func TestNothingIsKeptWithoutADirectory(t *testing.T) {
	t.Parallel()
	v := besideRunKernel(t, "")
	_, err := v.List(".")
	require.ErrorContains(t, err, "no states are kept here")
}

// TestARunKernelThatLies cannot make the agent read without a bound.
func TestARunKernelThatLies(t *testing.T) {
	t.Parallel()
	for name, each := range map[string]struct {
		answer protocol.ProcessAnswer
		data   string
		want   error
	}{
		"more than was asked for": {protocol.ProcessAnswer{Bytes: readBytes + 1}, "", errGone},
		"less than nothing":       {protocol.ProcessAnswer{Bytes: -1}, "", errGone},
		"no room":                 {protocol.ProcessAnswer{Error: "no room", Fault: protocol.FaultFull}, "", store.ErrVolumeFull},
		"an unknown fault":        {protocol.ProcessAnswer{Error: "?", Fault: "new"}, "", nil},
		"longer than it says":     {protocol.ProcessAnswer{File: &protocol.FileAnswer{Size: 3}, Bytes: 5}, "12345", io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			far, ours := net.Pipe()
			p := newProcesses(ours)
			defer p.close()
			go func() {
				var call protocol.ProcessCall
				if protocol.ReadLine(protocol.LineReader(far), &call) == nil {
					each.answer.Number = call.Number
					_ = protocol.WriteLine(far, each.answer, []byte(each.data))
				}
			}()
			file, size, err := volume{p}.Open("k")
			if errors.Is(each.want, io.EOF) {
				require.NoError(t, err)
				assert.Equal(t, int64(3), size)
				read, err := io.ReadAll(file)
				require.NoError(t, err)
				assert.Equal(t, "123", string(read))
				return
			}
			require.Error(t, err)
			if each.want != nil {
				require.ErrorIs(t, err, each.want)
			}
		})
	}
}
