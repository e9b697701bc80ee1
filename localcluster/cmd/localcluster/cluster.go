package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/elastichub/elastichub/localcluster/internal/cluster"
	"github.com/elastichub/elastichub/localcluster/internal/components"
	"github.com/elastichub/elastichub/localcluster/internal/host"
	"github.com/elastichub/elastichub/localcluster/internal/progress"
)

func upCommand() *cobra.Command {
	var gpus, nodes int
	var family string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build what is missing and start the cluster; if it runs, check that it is well",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := findDirectories()
			if err != nil {
				return err
			}
			p := progress.New(cmd.OutOrStdout())
			b, err := builder(at.cache, p)
			if err != nil {
				return err
			}
			request := cluster.Request{Build: func(ctx context.Context) (string, error) {
				return b.Build(ctx, components.All)
			}}
			if cmd.Flags().Changed("gpus") {
				if gpus < 0 {
					return fmt.Errorf("--gpus is %d, and must not be negative", gpus)
				}
				request.GPUs = &gpus
			}
			if cmd.Flags().Changed("nodes") {
				if nodes < 1 || nodes > cluster.MostNodes {
					return fmt.Errorf("--nodes is %d, and must be from 1 to %d", nodes, cluster.MostNodes)
				}
				request.Nodes = &nodes
			}
			if cmd.Flags().Changed("ip-family") {
				wanted := cluster.Family(family)
				if !slices.Contains(cluster.Families, wanted) {
					return fmt.Errorf("--ip-family is %q, and must be one of %v", family, cluster.Families)
				}
				request.Family = &wanted
			}
			if err := cluster.Up(cmd.Context(), at.layout, request, p); err != nil {
				return err
			}
			p.Say("export KUBECONFIG=%s PATH=%s/bin:$PATH", at.layout.Kubeconfig(), at.cache)
			return nil
		},
	}
	cmd.Flags().IntVar(&gpus, "gpus", 2, "how many nvidia.com/gpu the first node advertises; changes a running cluster too")
	cmd.Flags().IntVar(&nodes, "nodes", 1, "how many nodes there are, one or two; changes a running cluster too")
	cmd.Flags().StringVar(&family, "ip-family", string(cluster.IPv4), "which addresses Pods and Services have: ipv4, ipv6, or dual, IPv4 first; of one node alone, but for ipv4")
	return cmd
}

func downCommand() *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster and remove its state; built programs and images stay in the cache",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := findDirectories()
			if err != nil {
				return err
			}
			p := progress.New(cmd.OutOrStdout())
			if err := cluster.Down(cmd.Context(), at.layout, p); err != nil {
				return err
			}
			if !purge {
				return nil
			}
			return p.Do("removing "+at.cache, func() error {
				// The image builder leaves its storage mounted on itself.
				if err := host.UnmountBelow(at.cache); err != nil {
					return err
				}
				return os.RemoveAll(at.cache)
			})
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "also remove the cache: built programs, base image, image builder's storage")
	return cmd
}

func statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the components, the nodes and their GPUs; fail if something is not well",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := findDirectories()
			if err != nil {
				return err
			}
			status, err := at.layout.Status(cmd.Context())
			if err != nil {
				return err
			}
			printStatus(cmd.OutOrStdout(), status)
			if !status.Healthy() {
				return errors.New("not healthy")
			}
			return nil
		},
	}
}

func printStatus(w io.Writer, status cluster.Status) {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "COMPONENT\tPID\tUP\tRESTARTS\tRSS\tHEALTHY")
	var total uint64
	for _, c := range status.Components {
		healthy := "yes"
		if c.Fault != nil {
			healthy = "no: " + c.Fault.Error()
		}
		total += c.RSS
		fmt.Fprintf(table, "%s\t%d\t%s\t%d\t%d MiB\t%s\n", c.Name, c.Process.PID,
			time.Since(c.Since).Round(time.Second), c.Restarts, c.RSS>>20, healthy)
	}
	fmt.Fprintf(table, "all\t\t\t\t%d MiB\t\n", total>>20)
	table.Flush()
	for _, node := range status.Nodes {
		ready := "ready"
		if !cluster.Ready(node) {
			ready = "not ready"
		}
		fmt.Fprintf(w, "\nnode %s: %s, Kubernetes %s, %d GPUs of which %d in use\n", node.Name, ready,
			node.Status.NodeInfo.KubeletVersion, cluster.GPUs(node), status.GPUsInUse[node.Name])
	}
	if status.Cluster != nil {
		fmt.Fprintf(w, "\nnot well: %v\n", status.Cluster)
	}
}

func kubeconfigCommand() *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the administrator's kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := findDirectories()
			if err != nil {
				return err
			}
			content, err := os.ReadFile(at.layout.Kubeconfig())
			if errors.Is(err, os.ErrNotExist) {
				return cluster.ErrDown
			}
			if err != nil {
				return err
			}
			if raw {
				_, err = cmd.OutOrStdout().Write(content)
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), at.layout.Kubeconfig())
			return nil
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "print its content")
	return cmd
}

func logsCommand() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs COMPONENT",
		Short: "Print the log of a component, or of the supervisor",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := findDirectories()
			if err != nil {
				return err
			}
			file, err := os.Open(at.layout.Log(args[0]))
			if err != nil {
				return fmt.Errorf("no log of %q (the components are those that `localcluster status` lists)", args[0])
			}
			defer file.Close()
			reader := bufio.NewReader(file)
			for {
				if _, err := reader.WriteTo(cmd.OutOrStdout()); err != nil {
					return err
				}
				if !follow {
					return nil
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-time.After(200 * time.Millisecond):
				}
			}
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as the log grows")
	return cmd
}

func superviseCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "supervise",
		Short:  "Run the cluster that `up` has prepared, in this process",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := findDirectories()
			if err != nil {
				return err
			}
			return cluster.Supervise(cmd.Context(), at.layout)
		},
	}
}
