package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/hubclient"
	"github.com/elastichub/elastichub/spawner/hubservers"
	"github.com/elastichub/elastichub/spawner/orphans"
)

func orphansCommand() *cobra.Command {
	var file string
	command := &cobra.Command{
		Use:   "orphans",
		Short: "Say which servers the Hub does not know, and what would become of them",
		Long: "Say which servers the Hub does not know, and what would become of them. It changes nothing.\n" +
			"It runs in the service's Pod, where the token for the Hub is.",
		Example: "  kubectl -n jupyterhub exec deploy/elastichub -- elastichub orphans --config /etc/elastichub/config.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := loadServeConfig(file, os.Environ())
			if err != nil {
				return err
			}
			return listOrphans(cmd.Context(), config, cmd.OutOrStdout())
		},
	}
	command.Flags().StringVar(&file, "config", "", "configuration file of the service, YAML")
	return command
}

func listOrphans(ctx context.Context, config serveConfig, out io.Writer) error {
	if config.Hub.APIURL == "" {
		return errors.New("hub.apiURL and hub.tokenSecret are not set: the Hub cannot be asked")
	}
	hub, err := hubclient.New(config.Hub)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	defer hub.Close()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	cluster, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("kubernetes: %w", err)
	}
	reader, err := client.New(cluster, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("kubernetes: %w", err)
	}
	notebooks, found, err := orphans.Look(ctx, reader, hubservers.New(hub), config.Namespace, time.Now())
	if err != nil {
		return err
	}
	return writeOrphans(out, config.Orphans.Mode, len(notebooks), found)
}

func writeOrphans(out io.Writer, mode orphans.Mode, all int, found []orphans.Orphan) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "NAME\tUSER\tSERVER\tPHASE\tREASON\tREMOVED")
	for _, o := range found {
		nb := o.Notebook
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", nb.Name, nb.Spec.User, nb.Spec.Server, nb.Status.Phase, o.Reason, orphans.Fate(o, mode))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d of %d notebooks; orphans.mode is %s. Homes stay.\n", len(found), all, mode)
	return err
}
