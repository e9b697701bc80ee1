package mirror

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// sums lists every other file of the archive, as sha256sum writes it.
	sums = "SHA256SUMS"
	// maxText bounds what of an archive is read into memory: SHA256SUMS, indexes, manifests, configurations.
	maxText = 4 << 20
	// block is what tar archives are made of.
	block = 512
)

// Archive is a release that is whole: each file is what SHA256SUMS says, and no image lacks anything.
// Its file stays open until Close.
type Archive struct {
	// Version is that of the release, the tag of all its images.
	Version string
	// Images are in the order in which they are listed.
	Images []Image

	name  string
	file  *os.File
	files map[string]file // by their paths below the archive's one directory
}

// file is where a file's content lies in the archive, and its SHA-256 in hexadecimal.
type file struct {
	offset, size int64
	sum          string
}

// Open reads the whole archive. An error names the file that is missing, cut or another one.
func Open(name string) (*Archive, error) {
	opened, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	a := &Archive{name: filepath.Base(name), file: opened, files: map[string]file{}}
	for _, step := range []func() error{a.list, a.check, a.findImages} {
		if err := step(); err != nil {
			_ = opened.Close()
			return nil, fmt.Errorf("%s: %w", a.name, err)
		}
	}
	return a, nil
}

// Close closes the file. What was not read of images cannot be read any more.
func (a *Archive) Close() error { return a.file.Close() }

// list finds the files of the archive, and computes their sums.
func (a *Archive) list() error {
	reader := tar.NewReader(a.file)
	directory, last, end := "", "the beginning", int64(0)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			// At least two empty blocks end an archive.
			if info, err := a.file.Stat(); err != nil || info.Size() < (end+block-1)/block*block+2*block {
				return fmt.Errorf("it is cut after %s: %w", last, errors.Join(err, io.ErrUnexpectedEOF))
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("it ends or goes wrong after %s: %w", last, err)
		}
		if header.Typeflag == tar.TypeDir {
			continue
		}
		parent, name, _ := strings.Cut(path.Clean(header.Name), "/")
		switch {
		case header.Typeflag != tar.TypeReg || name == "" || directory != "" && parent != directory:
			return fmt.Errorf("%s: an archive of a release has files in one directory, and nothing else", header.Name)
		case a.files[name].sum != "":
			return fmt.Errorf("%s is there twice", name)
		}
		directory, last = parent, name
		// The reader reads no further than the header.
		offset, err := a.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		sum := sha256.New()
		size, err := io.Copy(sum, reader)
		if err != nil {
			return fmt.Errorf("%s is cut: %w", name, err)
		}
		end = offset + size
		a.files[name] = file{offset, size, hex.EncodeToString(sum.Sum(nil))}
	}
}

// check compares all files with SHA256SUMS.
func (a *Archive) check() error {
	text, err := a.text(sums)
	if err != nil {
		return err
	}
	listed := map[string]bool{sums: true}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		sum, name, _ := strings.Cut(lines.Text(), "  ")
		found, there := a.files[name]
		switch {
		case !there:
			return fmt.Errorf("%s is missing, which %s lists: the archive was cut", name, sums)
		case found.sum != sum:
			return fmt.Errorf("%s is not what %s says", name, sums)
		}
		listed[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(a.files)) {
		if !listed[name] {
			return fmt.Errorf("%s is not listed in %s", name, sums)
		}
	}
	return nil
}

// open reads a file from where it lies in the archive.
func (a *Archive) open(name string) (*io.SectionReader, error) {
	found, there := a.files[name]
	if !there {
		return nil, fmt.Errorf("%s is missing: this is no archive of a release, or it was cut", name)
	}
	return io.NewSectionReader(a.file, found.offset, found.size), nil
}

// text is the content of a small file.
func (a *Archive) text(name string) ([]byte, error) {
	content, err := a.open(name)
	if err != nil {
		return nil, err
	}
	if content.Size() > maxText {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", name, content.Size(), maxText)
	}
	return io.ReadAll(content)
}
