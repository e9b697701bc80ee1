package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	chart "github.com/elastichub/elastichub/charts/elastichub"
)

const (
	crdManager = "elastichub-crds"
	crdPoll    = 200 * time.Millisecond
	crdTimeout = 2 * time.Minute
)

func crdsCommand() *cobra.Command {
	group := &cobra.Command{Use: "crds", Short: "The kinds as this version knows them"}
	group.AddCommand(&cobra.Command{
		Use:   "apply",
		Short: "Bring the cluster's definitions of the kinds to this version",
		Long: "Bring the cluster's definitions of the kinds to this version, by server-side apply.\n" +
			"Helm installs them once and never updates them. It uses the account of the Pod it runs in,\n" +
			"or what KUBECONFIG names.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := ctrl.GetConfig()
			if err != nil {
				return fmt.Errorf("crds: %w", err)
			}
			c, err := client.New(config, client.Options{})
			if err != nil {
				return fmt.Errorf("crds: %w", err)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), crdTimeout)
			defer cancel()
			return applyCRDs(ctx, c, chart.CRDs, cmd.OutOrStdout())
		},
	})
	return group
}

// applyCRDs writes all definitions in files, and waits until each of them holds.
func applyCRDs(ctx context.Context, c client.Client, files fs.FS, out io.Writer) error {
	names, err := fs.Glob(files, "crds/*.yaml")
	if err != nil {
		return fmt.Errorf("crds: %w", err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return fmt.Errorf("crds: %w", err)
		}
		crd := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &crd.Object); err != nil {
			return fmt.Errorf("crds: %s: %w", name, err)
		}
		err = c.Apply(ctx, client.ApplyConfigurationFromUnstructured(crd), client.FieldOwner(crdManager), client.ForceOwnership)
		if err != nil {
			return fmt.Errorf("crds: apply %s: %w", crd.GetName(), err)
		}
		if err := awaitCRD(ctx, c, crd.GetName(), crd.GroupVersionKind()); err != nil {
			return fmt.Errorf("crds: wait for %s: %w", crd.GetName(), err)
		}
		fmt.Fprintln(out, crd.GetName())
	}
	return nil
}

func awaitCRD(ctx context.Context, c client.Client, name string, kind schema.GroupVersionKind) error {
	return wait.PollUntilContextCancel(ctx, crdPoll, true, func(ctx context.Context) (bool, error) {
		crd := &unstructured.Unstructured{}
		crd.SetGroupVersionKind(kind)
		if err := c.Get(ctx, client.ObjectKey{Name: name}, crd); err != nil {
			return false, err
		}
		status, _ := crd.Object["status"].(map[string]any)
		conditions, _ := status["conditions"].([]any) // null at first
		for _, condition := range conditions {
			if c, ok := condition.(map[string]any); ok && c["type"] == "Established" && c["status"] == "True" {
				return true, nil
			}
		}
		return false, nil
	})
}
