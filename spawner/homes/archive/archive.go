package archive

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// Endings of names of files: of an archive, of one that is not whole or not read back yet, and of its
// checksum as sha256sum writes and reads it.
const (
	ending   = ".tar.zst"
	partial  = ".partial"
	checksum = ".sha256"
)

// ErrNotTheSame: what was read back is not what was written.
var ErrNotTheSame = errors.New("archive: what was read back is not what was written")

// Result tells of an archive that is there.
type Result struct {
	// File is its name, and Size what it has of bytes.
	File string `json:"file"`
	Size int64  `json:"size"`
	// SHA256 is of the file, in hexadecimal.
	SHA256 string `json:"sha256"`
	Counts
}

// Write makes NAME.tar.zst of a home in the directory to, and its checksum beside it. It is read back
// before it has that name. Nothing is left there if it fails. progress is told how far it is, often.
func Write(ctx context.Context, home, to, name string, progress func(Counts)) (result Result, err error) {
	if name == "" || strings.ContainsAny(name, "/\x00") || strings.HasPrefix(name, ".") {
		return Result{}, fmt.Errorf("archive: %q is no name of a file", name)
	}
	result.File = name + ending
	whole := filepath.Join(to, result.File)
	draft := whole + partial
	if err := os.Remove(draft); err != nil && !errors.Is(err, os.ErrNotExist) {
		return Result{}, err
	}
	file, err := os.OpenFile(draft, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Result{}, err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			err = errors.Join(err, remove(draft), remove(whole+checksum+partial))
		}
	}()
	written := sha256.New()
	if result.Counts, err = compress(ctx, file, written, home, progress); err != nil {
		return Result{}, err
	}
	if err := file.Sync(); err != nil {
		return Result{}, err
	}
	// What is read back is to come from the disk, as far as the kernel can be asked for that.
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return Result{}, err
	}
	if result.SHA256, result.Size, err = check(ctx, file, written.Sum(nil), result.Entries); err != nil {
		return Result{}, err
	}
	if err := writeChecksum(whole+checksum, result); err != nil {
		return Result{}, err
	}
	if err := os.Rename(draft, whole); err != nil {
		return Result{}, err
	}
	return result, syncDirectory(to)
}

func remove(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func compress(ctx context.Context, file io.Writer, written hash.Hash, home string, progress func(Counts)) (Counts, error) {
	buffered := bufio.NewWriterSize(file, 1<<20)
	packed, err := zstd.NewWriter(buffered, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return Counts{}, err
	}
	counts, err := writeTree(ctx, io.MultiWriter(packed, written), home, progress)
	if err != nil {
		return counts, errors.Join(err, packed.Close())
	}
	if err := packed.Close(); err != nil {
		return counts, err
	}
	return counts, buffered.Flush()
}

// check reads an archive back: it has these bytes when it is unpacked, and a tar reader finds all
// entries in it. It returns the checksum and the size of the file.
func check(ctx context.Context, file io.ReadSeeker, written []byte, entries int64) (sum string, size int64, err error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", 0, err
	}
	packed, unpacked := sha256.New(), sha256.New()
	counted := &counter{from: &cancelled{ctx, file}}
	raw := bufio.NewReaderSize(io.TeeReader(counted, packed), 1<<20)
	decoder, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return "", 0, err
	}
	defer decoder.Close()
	stream := io.TeeReader(decoder, unpacked)
	read := tar.NewReader(stream)
	found := int64(0)
	for {
		_, err := read.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", 0, fmt.Errorf("%w: %w", ErrNotTheSame, err)
		}
		found++
	}
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrNotTheSame, err)
	}
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return "", 0, err
	}
	if found != entries {
		return "", 0, fmt.Errorf("%w: %d entries of %d", ErrNotTheSame, found, entries)
	}
	if string(unpacked.Sum(nil)) != string(written) {
		return "", 0, ErrNotTheSame
	}
	return hex.EncodeToString(packed.Sum(nil)), counted.bytes, nil
}

type counter struct {
	from  io.Reader
	bytes int64
}

func (c *counter) Read(into []byte) (int, error) {
	n, err := c.from.Read(into)
	c.bytes += int64(n)
	return n, err
}

// cancelled ends reading when nobody waits for it any more.
type cancelled struct {
	ctx  context.Context //nolint:containedctx // of this one reading
	from io.Reader
}

func (c *cancelled) Read(into []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.from.Read(into)
}

func writeChecksum(file string, result Result) error {
	if err := os.WriteFile(file+partial, []byte(result.SHA256+"  "+result.File+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(file+partial, file)
}

func syncDirectory(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
