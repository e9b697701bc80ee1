package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/elastichub/elastichub/kernels/agent/runkernel"
)

func runKernelCommand() *cobra.Command {
	config := runkernel.DefaultConfig()
	command := &cobra.Command{
		Use:   "run-kernel -- COMMAND [ARGUMENT...]",
		Short: "Start the kernel that COMMAND is when the agent says so; the first process of a kernel container",
		Long: `Start the kernel that COMMAND is whenever the agent of the Pod says so. {connection_file}
in its arguments is filled in. SIGTERM is left to the agent, which ends the kernel.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, argv []string) error {
			// Caught and not ignored: what is ignored, the kernel would ignore, too.
			signals := make(chan os.Signal, 1)
			signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
			return runkernel.Run(context.Background(), config, argv)
		},
	}
	command.Flags().StringVar(&config.WorkingDir, "working-dir", "", "where the kernel is to run, if that is a directory in one of the roots")
	command.Flags().StringArrayVar(&config.Roots, "root", nil, "directory that the working directory has to be in; may be given several times")
	command.Flags().StringVar(&config.State, "state", "", "directory, usually a home, below which the agent may keep the states of kernels")
	command.Flags().StringVar(&config.Environment, "environment", "", "directory of a Python environment of the user's own that the kernel is in")
	command.Flags().StringVar(&config.Image, "image", "", "name of the container's image, for people")
	command.Flags().StringVar(&config.Socket, "socket", config.Socket, "socket of the agent")
	command.Flags().StringVar(&config.Files, "files", config.Files, "directory for the connection file")
	return command
}
