package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func quiet(Counts) {}

// unpacked is what GNU tar makes of an archive.
func unpacked(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.Open(file)
	require.NoError(t, err)
	defer raw.Close()
	stream, err := zstd.NewReader(raw)
	require.NoError(t, err)
	defer stream.Close()
	to := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "tar", "--extract", "--preserve-permissions", "--directory", to)
	cmd.Stdin = stream
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return to
}

func put(t *testing.T, file string, content []byte, mode os.FileMode) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, content, 0o600))
	require.NoError(t, os.Chmod(file, mode))
}

// TestHomeComesBackAsItWas: with what people have in homes, and what somebody may put there to do
// harm, unpacked by somebody else's tar.
func TestHomeComesBackAsItWas(t *testing.T) {
	t.Parallel()
	home, to, outside := t.TempDir(), t.TempDir(), t.TempDir()
	put(t, filepath.Join(outside, "secret"), []byte("not the user's"), 0o644)
	put(t, filepath.Join(home, "work/a.ipynb"), []byte(`{"cells": []}`), 0o640)
	put(t, filepath.Join(home, "run.sh"), []byte("#!/bin/sh\n"), 0o755)
	put(t, filepath.Join(home, "empty"), nil, 0o444)
	put(t, filepath.Join(home, "two\nlines\x1b[31m"), []byte("1"), 0o600)
	put(t, filepath.Join(home, "no utf-8 \xff\xfe"), []byte("2"), 0o600)
	put(t, filepath.Join(home, "ümläut", strings.Repeat("x", 255)), []byte("3"), 0o600)
	put(t, filepath.Join(home, "-rf"), []byte("4"), 0o600)
	deep := home
	for range 15 {
		deep = filepath.Join(deep, strings.Repeat("d", 200))
	}
	put(t, filepath.Join(deep, "below"), []byte("5"), 0o600)
	put(t, filepath.Join(home, "large"), bytes.Repeat([]byte("0123456789abcdef"), 1<<16), 0o600)
	require.NoError(t, os.Symlink(filepath.Join(outside, "secret"), filepath.Join(home, "out")))
	require.NoError(t, os.Symlink(outside, filepath.Join(home, "outside")))
	require.NoError(t, os.Symlink("..", filepath.Join(home, "work/round")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(home, "dangling")))
	require.NoError(t, os.Link(filepath.Join(home, "large"), filepath.Join(home, "work/again")))
	require.NoError(t, unix.Mkfifo(filepath.Join(home, "fifo"), 0o600))
	old := time.Date(1931, 4, 1, 3, 2, 1, 5e8, time.UTC)
	require.NoError(t, os.Chtimes(filepath.Join(home, "run.sh"), old, old))
	require.NoError(t, os.Chmod(filepath.Join(home, "work"), 0o750|os.ModeSetgid))
	leftOut := int64(1)
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer func() { assert.NoError(t, unix.Close(socket)) }()
	require.NoError(t, unix.Bind(socket, &unix.SockaddrUnix{Name: filepath.Join(home, "s")}))
	if os.Getuid() == 0 {
		require.NoError(t, os.Lchown(filepath.Join(home, "work/a.ipynb"), 1000, 100))
		if unix.Mknod(filepath.Join(home, "zero"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) == nil {
			leftOut++ // /dev/zero never ends
		}
	}
	sparse, err := os.Create(filepath.Join(home, "sparse"))
	require.NoError(t, err)
	_, err = sparse.WriteAt([]byte("begin"), 0)
	require.NoError(t, err)
	_, err = sparse.WriteAt([]byte("middle"), 3<<30)
	require.NoError(t, err)
	require.NoError(t, sparse.Truncate(9<<30))
	require.NoError(t, sparse.Close())

	result, err := Write(t.Context(), home, to, "alice", quiet)
	require.NoError(t, err)
	assert.Equal(t, "alice.tar.zst", result.File)
	assert.Equal(t, leftOut, result.LeftOut)
	info, err := os.Stat(filepath.Join(to, result.File))
	require.NoError(t, err)
	assert.Equal(t, info.Size(), result.Size)
	assert.Less(t, result.Size, int64(4<<20), "holes are none of it")
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	checked := exec.CommandContext(t.Context(), "sha256sum", "--check", result.File+checksum)
	checked.Dir = to
	out, err := checked.CombinedOutput()
	require.NoError(t, err, string(out))

	back := unpacked(t, filepath.Join(to, result.File))
	assert.Equal(t, listing(t, home, "s", "zero"), listing(t, back))
	raw, err := os.ReadFile(filepath.Join(back, "large"))
	require.NoError(t, err)
	assert.Len(t, raw, 1<<20)
	one, err := os.Stat(filepath.Join(back, "large"))
	require.NoError(t, err)
	two, err := os.Stat(filepath.Join(back, "work/again"))
	require.NoError(t, err)
	assert.True(t, os.SameFile(one, two))
	var stat unix.Stat_t
	require.NoError(t, unix.Stat(filepath.Join(back, "sparse"), &stat))
	assert.Less(t, stat.Blocks*block, int64(1<<20), "it has its holes")
	found, err := os.Open(filepath.Join(back, "sparse"))
	require.NoError(t, err)
	defer found.Close()
	for at, want := range map[int64]string{0: "begin\x00", 3 << 30: "middle\x00"} {
		got := make([]byte, len(want))
		_, err := found.ReadAt(got, at)
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
}

// listing is of all that is in a directory: kind, mode, owner, time, size, what links lead to.
func listing(t *testing.T, root string, without ...string) []string {
	t.Helper()
	var all []string
	require.NoError(t, filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, other := range without {
			if name == other {
				return nil
			}
		}
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			return err
		}
		line := fmt.Sprintf("%q %o %d:%d", name, stat.Mode, stat.Uid, stat.Gid)
		switch stat.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		case unix.S_IFREG:
			line += fmt.Sprintf(" %d %d", stat.Size, stat.Mtim.Nano())
		}
		all = append(all, line)
		return nil
	}))
	return all
}

// TestNothingHalfMadeStays: whatever fails, there is neither an archive nor a draft of it.
func TestNothingHalfMadeStays(t *testing.T) {
	t.Parallel()
	t.Run("somebody writes meanwhile", func(t *testing.T) {
		t.Parallel()
		home, to := t.TempDir(), t.TempDir()
		put(t, filepath.Join(home, "a"), bytes.Repeat([]byte("a"), 1<<20), 0o600)
		put(t, filepath.Join(home, "b"), bytes.Repeat([]byte("b"), 1<<20), 0o600)
		_, err := Write(t.Context(), home, to, "alice", func(Counts) {
			for _, name := range []string{"a", "b"} {
				file, err := os.OpenFile(filepath.Join(home, name), os.O_WRONLY|os.O_APPEND, 0)
				assert.NoError(t, err)
				_, err = file.WriteString("more")
				assert.NoError(t, err)
				assert.NoError(t, file.Close())
			}
		})
		// What was seen before it was written to is refused; what is seen after that is whole.
		assertNothing(t, to, err == nil)
	})
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		home, to := t.TempDir(), t.TempDir()
		put(t, filepath.Join(home, "a"), []byte("a"), 0o600)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Write(ctx, home, to, "alice", func(Counts) { cancel() })
		require.ErrorIs(t, err, context.Canceled)
		assertNothing(t, to, false)
	})
	t.Run("no name of a file", func(t *testing.T) {
		t.Parallel()
		for _, name := range []string{"", "../alice", "a/b", ".hidden", "a\x00"} {
			_, err := Write(t.Context(), t.TempDir(), t.TempDir(), name, quiet)
			assert.Error(t, err, name)
		}
	})
	t.Run("the home is a link", func(t *testing.T) {
		t.Parallel()
		home, to := filepath.Join(t.TempDir(), "link"), t.TempDir()
		require.NoError(t, os.Symlink("/etc", home))
		_, err := Write(t.Context(), home, to, "alice", quiet)
		require.Error(t, err)
		assertNothing(t, to, false)
	})
	t.Run("too deep", func(t *testing.T) {
		t.Parallel()
		home, to := t.TempDir(), t.TempDir()
		at, err := unix.Open(home, unix.O_DIRECTORY, 0)
		require.NoError(t, err)
		for range deepest + 5 {
			require.NoError(t, unix.Mkdirat(at, "d", 0o755))
			next, err := unix.Openat(at, "d", unix.O_DIRECTORY, 0)
			require.NoError(t, err)
			require.NoError(t, unix.Close(at))
			at = next
		}
		require.NoError(t, unix.Close(at))
		_, err = Write(t.Context(), home, to, "alice", quiet)
		require.ErrorIs(t, err, ErrTooDeep)
		assertNothing(t, to, false)
	})
}

func assertNothing(t *testing.T, to string, whole bool) {
	t.Helper()
	entries, err := os.ReadDir(to)
	require.NoError(t, err)
	if !whole {
		assert.Empty(t, entries)
		return
	}
	require.Len(t, entries, 2)
	assert.Equal(t, []string{"alice.tar.zst", "alice.tar.zst.sha256"}, []string{entries[0].Name(), entries[1].Name()})
}

// TestWhatWasWrittenIsReadBack: a byte that the disk has changed is found, wherever it is, and so is
// an archive that is cut.
func TestWhatWasWrittenIsReadBack(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	for i := range 20 {
		put(t, filepath.Join(home, fmt.Sprint(i)), bytes.Repeat([]byte{byte(i), byte(i * 7)}, 5000), 0o600)
	}
	to := t.TempDir()
	result, err := Write(t.Context(), home, to, "alice", quiet)
	require.NoError(t, err)
	raw, err := os.ReadFile(filepath.Join(to, result.File))
	require.NoError(t, err)
	plain, err := zstd.NewReader(bytes.NewReader(raw))
	require.NoError(t, err)
	defer plain.Close()
	content, err := io.ReadAll(plain)
	require.NoError(t, err)
	sum := sumOf(content)
	got, size, err := check(t.Context(), bytes.NewReader(raw), sum, result.Entries)
	require.NoError(t, err)
	assert.Equal(t, result.SHA256, got)
	assert.Equal(t, int64(len(raw)), size)
	for at := 0; at < len(raw); at += len(raw)/100 + 1 {
		changed := bytes.Clone(raw)
		changed[at] ^= 0x10
		if _, _, err := check(t.Context(), bytes.NewReader(changed), sum, result.Entries); err == nil {
			again, err := zstd.NewReader(bytes.NewReader(changed))
			require.NoError(t, err)
			same, err := io.ReadAll(again)
			require.NoError(t, err)
			assert.Equal(t, content, same, "byte %d", at)
			again.Close()
		}
		_, _, err := check(t.Context(), bytes.NewReader(raw[:at]), sum, result.Entries)
		require.Error(t, err, "cut at %d", at)
	}
	_, _, err = check(t.Context(), bytes.NewReader(raw), sum, result.Entries+1)
	assert.ErrorIs(t, err, ErrNotTheSame)
}

// TestManyFiles: memory does not grow with them, nor do open files.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	home, to := t.TempDir(), t.TempDir()
	const files = 20_000
	for i := range files {
		require.NoError(t, os.WriteFile(filepath.Join(home, fmt.Sprintf("%06d", i)), nil, 0o600))
	}
	told := int64(0)
	result, err := Write(t.Context(), home, to, "alice", func(c Counts) { told = c.Entries })
	require.NoError(t, err)
	assert.Equal(t, int64(files+1), result.Entries)
	assert.Equal(t, result.Entries, told)
}

func sumOf(content []byte) []byte {
	sum := sha256.Sum256(content)
	return sum[:]
}
