package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

const childFlag = "child"

// child is one step: what is measured.
func child(ctx context.Context, step, dir string, from io.Reader, to io.Writer) error {
	switch step {
	case "copy":
		return copyTo(filepath.Join(dir, "copy"), from)
	case "copy back":
		return copyFrom(filepath.Join(dir, "copy"), to)
	}
	volume, err := store.OpenDirectory(dir, "kernels")
	if err != nil {
		return err
	}
	defer volume.Close()
	s, err := store.Open(volume, store.Config{Kernel: "bench", Keys: []store.Key{{1}}, TTL: time.Hour, FreePercent: 1})
	if err != nil {
		return err
	}
	switch step {
	case "save":
		draft, err := s.Save(ctx, 1, from)
		if err != nil {
			return err
		}
		_, err = draft.Commit()
		return err
	case "load":
		_, err = s.Load(ctx, store.Wanted{Run: 1}, to)
		return err
	default:
		return fmt.Errorf("no step %q", step)
	}
}

func copyTo(path string, from io.Reader) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{file}, struct{ io.Reader }{from}, make([]byte, 4<<20)); err != nil {
		return err
	}
	return file.Sync()
}

func copyFrom(path string, to io.Writer) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{file}, make([]byte, 4<<20))
	return err
}
