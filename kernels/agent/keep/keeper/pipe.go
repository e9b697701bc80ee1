package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// pipe is a FIFO to or from the kernel. Both ends are held open here, so that
// neither side waits for the other to open it, and the stream does not end before
// it is closed.
type pipe struct {
	path        string
	read, write *os.File
}

// pipe makes a FIFO that the kernel may open by its group. Each step has its own:
// what a former one left open is not in the way.
func (k *Keeper) pipe(what string) (*pipe, error) {
	k.steps++
	p := &pipe{path: filepath.Join(k.cfg.Pipes, fmt.Sprintf("%s-%d", what, k.steps))}
	_ = os.Remove(p.path)
	if err := unix.Mkfifo(p.path, 0o660); err != nil {
		return nil, fmt.Errorf("keeper: %s: %w", p.path, err)
	}
	err := os.Chmod(p.path, 0o660) // whatever the umask
	if err == nil {
		p.read, err = os.OpenFile(p.path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	}
	if err == nil {
		p.write, err = os.OpenFile(p.path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("keeper: %w", err)
	}
	_, _ = unix.FcntlInt(p.read.Fd(), unix.F_SETPIPE_SZ, 1<<20) // more than this user may have, perhaps
	return p, nil
}

func (p *pipe) close() {
	for _, end := range []*os.File{p.read, p.write} {
		if end != nil {
			_ = end.Close()
		}
	}
	_ = os.Remove(p.path)
}

// closed says whether an error is that of a pipe that was closed here.
func closed(err error) bool { return errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EPIPE) }
