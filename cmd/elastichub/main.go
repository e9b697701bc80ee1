// Command elastichub is the whole product in one binary: the service that
// JupyterHub drives, the kernel gateway, and the agent in every kernel Pod.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	// SIGINT and SIGTERM end the context; a second one ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)

	called, args := commandFor(os.Args)
	called.SetArgs(args)
	err := called.ExecuteContext(ctx)
	var exit exitCode
	switch {
	case errors.As(err, &exit):
		os.Exit(int(exit))
	case err != nil:
		fmt.Fprintln(os.Stderr, "elastichub:", err)
		os.Exit(1)
	}
}

// exitCode ends the process with a status and no message: the subcommand has
// said what there was to say.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "elastichub",
		Short:         "An external spawner for JupyterHub that lends GPU kernels only while they are used",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		serveCommand(),
		gatewayCommand(),
		agentCommand(),
		installAgentCommand(),
		crdsCommand(),
		upgradeCommand(),
		doctorCommand(),
		orphansCommand(),
		homesCommand(),
		logLevelCommand(),
		supportCommand(),
		uninstallCommand(),
		backupCommand(),
		restoreCommand(),
		rotateCommand(),
		secretsCommand(),
		runCommand(),
		logsCommand(),
		runKernelCommand(),
		holdCommand(),
		archiveHomeCommand(),
		policyCommand(),
		mirrorCommand(),
		versionCommand(),
	)
	root.AddCommand(kubectlCommands()...)
	return root
}
