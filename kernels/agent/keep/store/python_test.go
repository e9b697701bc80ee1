package store_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
	"github.com/elastichub/elastichub/test/pythontest"
)

// shell is a notebook's process without its sockets. It runs a cell, and saves into
// or loads from a FIFO as the agent has it do.
const shell = `
import json, sys
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
step, boot, fifo, cell = sys.argv[1:]
config = Config()
config.HistoryManager.enabled = False
shell = InteractiveShell.instance(config=config)
exec(open(boot).read(), {"__file__": boot})
keep = sys.modules["_elastichub_keep"]
keep.begin()
if step == "save":
    shell.run_cell(cell).raise_error()
    print(repr(keep.save(fifo, {})))
else:
    print(repr(keep.load(fifo, {})))
    shell.run_cell(cell).raise_error()
`

const (
	makes = `
words = [f"word {i}" for i in range(100_000)]
half = (i for i in range(3))
large = bytearray(range(256)) * (20 << 10)
alias = [large, words]
def count(n=3): return n + len(words)
`
	checks = `
assert words[99_999] == "word 99999" and len(words) == 100_000
assert len(large) == 5 << 20 and large[:256] == bytes(range(256)) and large[-1] == 255
assert alias[0] is large and alias[1] is words
assert count() == 100_003
try: next(half)
except Exception as lost: assert "generator" in str(lost), lost
else: assert False, "a generator came back"
large[0] = 7
words.append("more")
`
	checksAgain = `
assert large[0] == 7 and alias[0] is large and len(words) == 100_001 and count() == 100_004
`
)

// TestRealKernelState parks what a notebook has, twice, by the real stream over a
// FIFO: nothing between is in memory as a whole.
func TestRealKernelState(t *testing.T) {
	t.Parallel()
	python := pythontest.Interpreter(t)
	volume, dir := home(t)
	s := open(t, volume)

	var first store.Snapshot
	report := piped(t, python, "save", makes, func(fifo *os.File) {
		draft, err := s.Save(t.Context(), 1, fifo)
		require.NoError(t, err)
		first, err = draft.Commit()
		require.NoError(t, err)
	})
	assert.Equal(t, "saved", report["outcome"])
	assert.Equal(t, false, report["whole"])
	var kept struct {
		Lost []struct{ Name, Type string }
	}
	require.NoError(t, json.Unmarshal(first.Report, &kept))
	require.Len(t, kept.Lost, 1)
	assert.Equal(t, "half", kept.Lost[0].Name)
	for name, content := range files(t, dir) {
		assert.NotContains(t, content, "word 9", name)
	}

	report = piped(t, python, "load", checks, func(fifo *os.File) {
		_, err := s.Load(t.Context(), store.Wanted{Run: 1}, fifo)
		require.NoError(t, err)
	})
	assert.Equal(t, "loaded", report["outcome"])
	assert.Empty(t, report["failed"])
	assert.Empty(t, report["changed"])

	// A chunk breaks: the kernel takes nothing of it.
	require.NoError(t, os.Truncate(filepath.Join(dir, chunks(t, dir)[0]), 50))
	report = piped(t, python, "load", "assert 'words' not in globals()", func(fifo *os.File) {
		_, err := s.Load(t.Context(), store.Wanted{Run: 1}, fifo)
		var damaged *store.DamagedError
		require.ErrorAs(t, err, &damaged)
	})
	assert.Equal(t, "broken", report["outcome"])

	// Loaded, changed and saved again, in one process: another generation.
	piped(t, python, "save", makes+strings.Replace(checks, "\ntry: next(half)", "\ntry: raise RuntimeError('generator')", 1), func(fifo *os.File) {
		draft, err := s.Save(t.Context(), 2, fifo)
		require.NoError(t, err)
		second, err := draft.Commit()
		require.NoError(t, err)
		assert.EqualValues(t, 2, second.Generation)
	})
	piped(t, python, "load", checksAgain, func(fifo *os.File) {
		_, err := s.Load(t.Context(), store.Wanted{Run: 2}, fifo)
		require.NoError(t, err)
	})
}

// piped runs a step of shell with a FIFO whose other end is for do, and returns
// the report.
func piped(t *testing.T, python, step, cell string, do func(fifo *os.File)) map[string]any {
	t.Helper()
	boot, err := filepath.Abs("../../../../python/keep/boot.py")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(path, 0o600))
	var out, problems bytes.Buffer
	process := exec.Command(python, "-c", shell, step, boot, path, cell)
	process.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "IPYTHONDIR="+t.TempDir())
	process.Stdout, process.Stderr = &out, &problems
	require.NoError(t, process.Start())
	ended := make(chan error, 1)
	go func() {
		err := process.Wait()
		if end, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
			end.Close() // whoever waits for the other end does so no longer
		}
		ended <- err
	}()
	flag := os.O_RDONLY
	if step == "load" {
		flag = os.O_WRONLY
	}
	fifo, err := os.OpenFile(path, flag, 0)
	require.NoError(t, err)
	do(fifo)
	fifo.Close()
	err = <-ended
	require.NoError(t, err, "%s%s", &out, &problems)
	var report map[string]any
	line := strings.TrimSpace(out.String())
	require.NoError(t, json.Unmarshal([]byte(line[strings.LastIndex(line, "\n")+1:]), &report), line)
	return report
}
