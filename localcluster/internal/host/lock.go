package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Lock takes an exclusive lock on a file and returns what gives it back. If
// somebody else has it, waiting is called once with who that is. The kernel
// drops the lock when its holder dies.
func Lock(ctx context.Context, name string, waiting func(holder string)) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	for told := false; ; {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if !told {
			told = true
			holder, _ := io.ReadAll(file)
			waiting(strings.TrimSpace(string(holder)))
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", name, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
	if err := file.Truncate(0); err == nil {
		fmt.Fprintf(file, "pid %d\n", os.Getpid())
	}
	return func() { file.Close() }, nil
}
