package runkernel

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"unicode/utf8"
)

const (
	lineBytes = 8 << 10 // a longer line of the kernel's output is cut
	tailBytes = 2 << 10 // of the output that a failed start reports
)

// tail keeps the last bytes of a kernel's output.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) add(line []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, line...)
	if over := len(t.buf) - tailBytes; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
}

// String begins at a whole line if there is more than one.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.buf
	if len(b) == tailBytes {
		if i := bytes.IndexByte(b, '\n'); i >= 0 && i < len(b)-1 {
			b = b[i+1:]
		}
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(b), string(utf8.RuneError)))
}

// pump copies lines from a kernel to out and t until r ends. What exceeds
// lineBytes in a line is left out.
func pump(r io.Reader, out io.Writer, t *tail) {
	lines := bufio.NewReaderSize(r, lineBytes)
	cut := false
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 && !cut {
			if errors.Is(err, bufio.ErrBufferFull) {
				line = append(bytes.Clone(line), " …\n"...)
			} else if line[len(line)-1] != '\n' {
				line = append(bytes.Clone(line), '\n')
			}
			t.add(line)
			_, _ = out.Write(line) // a log that cannot be written must not stop the kernel
		}
		cut = errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !cut {
			return
		}
	}
}
