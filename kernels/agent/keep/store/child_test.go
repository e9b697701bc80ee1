package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

// What this program does instead of testing, where another process is needed.
const (
	childSaves = "child-saves" // DIRECTORY FIRST: one snapshot after the other
	childFills = "child-fills" // DIRECTORY: a small volume, until there is no room
)

// child does that, if it is asked to.
func child(args []string) bool {
	if len(args) < 3 {
		return false
	}
	var err error
	switch args[1] {
	case childSaves:
		err = saveForEver(args[2], args[3])
	case childFills:
		err = fill(args[2])
	default:
		return false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func childStore(dir string) (*store.Store, error) {
	volume, err := store.OpenDirectory(dir)
	if err != nil {
		return nil, err
	}
	return store.Open(volume, config())
}

func commit(s *store.Store, run int64, stream []byte) error {
	draft, err := s.Save(context.Background(), run, bytes.NewReader(stream))
	if err != nil {
		return err
	}
	_, err = draft.Commit()
	return err
}

// saveForEver says each number once its snapshot is there.
func saveForEver(dir, first string) error {
	s, err := childStore(dir)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(first)
	for ; err == nil; number++ {
		if err = commit(s, int64(number), numbered(number)); err == nil {
			fmt.Println(number)
		}
	}
	return err
}

// fill saves on a volume of 6 MB what fits, and then what does not.
func fill(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=6m"); err != nil {
		return err
	}
	s, err := childStore(dir)
	if err != nil {
		return err
	}
	if err := commit(s, 1, numbered(1)); err != nil {
		return err
	}
	large := newStream()
	large.record("large", noise(9, 3<<20), noise(10, 5<<20))
	if err := commit(s, 2, large.end().all); !errors.Is(err, store.ErrVolumeFull) {
		return fmt.Errorf("a full volume says %w", err)
	}
	var back bytes.Buffer
	if _, err := s.Load(context.Background(), store.Wanted{Run: 1}, &back); err != nil {
		return err
	}
	if !bytes.Equal(numbered(1), back.Bytes()) {
		return errors.New("the former snapshot is another")
	}
	return commit(s, 3, numbered(1)) // there is room again
}

// TestAFullVolume needs a mount of its own, which not everybody may make.
func TestAFullVolume(t *testing.T) {
	t.Parallel()
	filler := exec.Command(os.Args[0], childFills, t.TempDir())
	filler.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := filler.CombinedOutput()
	if errors.Is(err, os.ErrPermission) || bytes.Contains(out, []byte("operation not permitted")) {
		t.Skip("no mounts in a user namespace here; TestAVolumeWithoutRoom has the same without one")
	}
	require.NoError(t, err, "%s", out)
}
