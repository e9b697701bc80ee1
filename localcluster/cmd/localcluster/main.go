// Command localcluster brings up a real Kubernetes of one node, or two, on this machine.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/elastichub/elastichub/localcluster"
	"github.com/elastichub/elastichub/localcluster/internal/cluster"
	"github.com/elastichub/elastichub/localcluster/internal/components"
	"github.com/elastichub/elastichub/localcluster/internal/host"
	"github.com/elastichub/elastichub/localcluster/internal/progress"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "localcluster:", err)
		os.Exit(1)
	}
}

// directories are where things are kept, from the environment.
type directories struct {
	cache  string
	layout cluster.Layout
}

func findDirectories() (directories, error) {
	cache, err := host.CacheDir()
	if err != nil {
		return directories{}, err
	}
	state, err := host.StateDir()
	if err != nil {
		return directories{}, err
	}
	layout, err := cluster.NewLayout(state)
	return directories{cache: cache, layout: layout}, err
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "localcluster",
		Short:         "A real Kubernetes of one node, or two, on this machine, built from source",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		upCommand(), downCommand(), statusCommand(), kubeconfigCommand(), logsCommand(), superviseCommand(),
		assetsCommand(), clientsCommand(), buildImageCommand(), loadImageCommand(), saveImageCommand(), pushImageCommand(),
		publishDevicesCommand(),
	)
	return root
}

func builder(cache string, p *progress.Printer) (components.Builder, error) {
	source, err := localcluster.SourceDir()
	if err != nil {
		return components.Builder{}, err
	}
	return components.Builder{Source: source + "/components", CacheDir: cache, Progress: p}, nil
}

func assetsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "assets",
		Short: "Build etcd, kube-apiserver, kubectl and helm only, and print their directory",
		Long: "Build etcd, kube-apiserver, kubectl and helm only, and print their directory,\n" +
			"for KUBEBUILDER_ASSETS of tests that need no more than an API server.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return buildComponents(cmd, components.Assets) },
	}
}

func clientsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "clients",
		Short: "Build kubectl and helm only, and print their directory",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return buildComponents(cmd, components.Clients) },
	}
}

func buildComponents(cmd *cobra.Command, names []string) error {
	at, err := findDirectories()
	if err != nil {
		return err
	}
	b, err := builder(at.cache, progress.New(cmd.ErrOrStderr()))
	if err != nil {
		return err
	}
	dir, err := b.Build(cmd.Context(), names)
	if err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), dir)
	return nil
}
