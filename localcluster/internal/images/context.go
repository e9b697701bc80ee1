package images

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// hashContext hashes the files of a build context that the builder would see:
// their names, permissions and content, but not their times.
func hashContext(dir, dockerfile string) (string, error) {
	ignored, err := ignorePatterns(dir, dockerfile)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	err = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		skip, err := ignored.MatchesOrParentMatches(relative)
		if err != nil {
			return err
		}
		switch {
		case skip && entry.IsDir() && !ignored.Exclusions():
			return filepath.SkipDir
		case skip:
			return nil
		}
		return hashEntry(sum, name, relative, entry)
	})
	if err != nil {
		return "", fmt.Errorf("build context: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func hashEntry(sum io.Writer, name, relative string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone since the directory was read
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(sum, "%q %s\n", relative, info.Mode())
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%q\n", target)
	case info.Mode().IsRegular():
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		fmt.Fprintf(sum, "%d\n", info.Size())
		_, err = io.Copy(sum, bufio.NewReaderSize(file, 1<<20))
		return err
	}
	return nil
}

// ignorePatterns reads the context's ignore file; one named after the
// Dockerfile comes before the general one.
func ignorePatterns(dir, dockerfile string) (*patternmatcher.PatternMatcher, error) {
	for _, name := range []string{
		dockerfile + ".dockerignore", filepath.Join(dir, ".containerignore"), filepath.Join(dir, ".dockerignore"),
	} {
		file, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		defer file.Close()
		patterns, err := ignorefile.ReadAll(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return patternmatcher.New(patterns)
	}
	return patternmatcher.New(nil)
}
