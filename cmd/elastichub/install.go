package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// installAgentCommand is what the agent's container of a kernel Pod runs after it
// has started: the binary copies itself into a volume that the kernel's container,
// which the kubelet starts after that, mounts too.
func installAgentCommand() *cobra.Command {
	var await string
	command := &cobra.Command{
		Use:   "install-agent DIRECTORY",
		Short: "Copy this binary into a directory, for a kernel container to run it as run-kernel",
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
