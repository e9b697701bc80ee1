package store

import (
	"bytes"
	"errors"
	"io"
	"path"
	"strings"
	"time"
)

// Sweep removes the states of kernels that are not to be kept and of those whose
// time is over, and returns their names. It has no keys: it believes what a
// manifest says of its time, which whoever loads it does not. Kernels whose state
// is in use are left, and files that are not the store's.
func Sweep(volume Volume, keep func(kernel string) bool, now time.Time) ([]string, error) {
	found, err := volume.List(".")
	if err != nil {
		return nil, absent(err)
	}
	var swept []string
	var faults []error
	for _, each := range found {
		if !each.Directory || !kernelName.MatchString(each.Name) || keep(each.Name) && !isOver(volume, each.Name, now) {
			continue
		}
		switch err := sweepKernel(volume, each.Name); {
		case err == nil:
			swept = append(swept, each.Name)
		case !errors.Is(err, ErrBusy):
			faults = append(faults, err)
		}
	}
	return swept, errors.Join(faults...)
}

// isOver says whether a manifest says that its time is over. One that cannot be
// read says nothing.
func isOver(volume Volume, kernel string, now time.Time) bool {
	file, _, err := volume.Open(path.Join(kernel, manifestFile))
	if err != nil {
		return false
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, largestHeader+1))
	if err != nil {
		return false
	}
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	found, err := decodeHeader(line)
	return err == nil && !now.Before(found.Expires)
}

func sweepKernel(volume Volume, kernel string) error {
	lock, err := volume.Lock(path.Join(kernel, lockFile), false)
	if err != nil {
		return err
	}
	defer lock.Close()
	return remove(volume, kernel)
}

// remove removes what is the store's of a kernel, the manifest first: then there
// is no snapshot, however far it comes. Its directory stays if something else is
// in it.
func remove(volume Volume, kernel string) error {
	if err := absent(volume.Remove(path.Join(kernel, manifestFile))); err != nil {
		return err
	}
	if err := removeChunks(volume, kernel, nil); err != nil {
		return err
	}
	_ = volume.Remove(path.Join(kernel, chunkDir)) // fails, as below, if something else is in it
	for _, name := range []string{suspectFile, lockFile} {
		if err := absent(volume.Remove(path.Join(kernel, name))); err != nil {
			return err
		}
	}
	_ = volume.Remove(kernel)
	return nil
}

// removeChunks removes the chunks of a kernel but for those to keep, and what was
// left half written.
func removeChunks(volume Volume, kernel string, keep map[string]int64) error {
	for _, name := range []string{manifestFile, suspectFile} {
		if err := absent(volume.Remove(path.Join(kernel, name+unfinished))); err != nil {
			return err
		}
	}
	found, err := volume.List(path.Join(kernel, chunkDir))
	if err != nil {
		return absent(err)
	}
	for _, each := range found {
		name, half := strings.CutSuffix(each.Name, unfinished)
		_, kept := keep[name]
		if each.Directory || !chunkName.MatchString(name) || kept && !half {
			continue
		}
		if err := absent(volume.Remove(path.Join(kernel, chunkDir, each.Name))); err != nil {
			return err
		}
	}
	return nil
}
