package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/elastichub/elastichub/kernels/agent/keep/adapters"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/python/keep"
)

// installAgentCommand is what the agent's container of a kernel Pod runs after it
// has started: the binary copies itself into a volume that the kernel's container,
// which the kubelet starts after that, mounts too.
func installAgentCommand() *cobra.Command {
	var await string
	command := &cobra.Command{
		Use:   "install-agent DIRECTORY",
		Short: "Copy this binary and what keeps a kernel's state into a directory, for a kernel container to use them",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := awaitFile(cmd.Context(), await); err != nil {
				return fmt.Errorf("install-agent: %w", err)
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("install-agent: %w", err)
			}
			if err := copyExecutable(self, filepath.Join(args[0], "elastichub")); err != nil {
				return fmt.Errorf("install-agent: %w", err)
			}
			for _, files := range []fs.FS{keep.Files, adapters.Files} {
				if err := copyFiles(files, filepath.Join(args[0], protocol.KeepName)); err != nil {
					return fmt.Errorf("install-agent: %w", err)
				}
			}
			return nil
		},
	}
	command.Flags().StringVar(&await, "await", "", "file that has to exist, which the agent makes when it listens")
	return command
}

// awaitTime is how long a file is awaited.
const awaitTime = 30 * time.Second

// awaitFile waits until a file exists; the empty name stands for none.
func awaitFile(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, awaitTime)
	defer cancel()
	for {
		_, err := os.Lstat(name)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// copyFiles makes a directory of files that everybody can read, whatever the umask.
func copyFiles(from fs.FS, to string) error {
	entries, err := fs.ReadDir(from, ".")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(to, 0o755); err != nil {
		return err
	}
	for _, entry := range entries {
		content, err := fs.ReadFile(from, entry.Name())
		if err != nil {
			return err
		}
		target := filepath.Join(to, entry.Name())
		if err := os.WriteFile(target, content, 0o644); err != nil {
			return err
		}
		if err := os.Chmod(target, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// copyExecutable writes to a temporary name first: a target that exists is whole.
func copyExecutable(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.CreateTemp(filepath.Dir(to), ".elastichub-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(target.Name())
		}
	}()
	if _, err := io.Copy(target, source); err != nil {
		target.Close()
		return err
	}
	if err := target.Chmod(0o755); err != nil {
		target.Close()
		return err
	}
	if err := target.Close(); err != nil {
		return err
	}
	return os.Rename(target.Name(), to)
}
