package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	chart "github.com/elastichub/elastichub/charts/elastichub"
	"github.com/elastichub/elastichub/upgrade"
)

const crdTimeout = 2 * time.Minute

func crdsCommand() *cobra.Command {
	group := &cobra.Command{Use: "crds", Short: "The kinds as this version knows them"}
	var keepNewer bool
	apply := &cobra.Command{
		Use:   "apply",
		Short: "Bring the cluster's definitions of the kinds to this version",
		Long: "Bring the cluster's definitions of the kinds to this version, by server-side apply.\n" +
			"Helm installs them once and never updates them. Those of a newer version are not brought back.\n" +
			"It uses the account of the Pod it runs in, or what KUBECONFIG names.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := ctrl.GetConfig()
			if err != nil {
				return fmt.Errorf("crds: %w", err)
			}
			scheme := runtime.NewScheme()
			if err := apiextensionsv1.AddToScheme(scheme); err != nil {
				return err
			}
			c, err := client.New(config, client.Options{Scheme: scheme})
			if err != nil {
				return fmt.Errorf("crds: %w", err)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), crdTimeout)
			defer cancel()
			newer := upgrade.RefuseNewer
			if keepNewer {
				newer = upgrade.KeepNewer
			}
			return upgrade.ApplyKinds(ctx, c, chart.CRDs, newer, cmd.OutOrStdout())
		},
	}
	apply.Flags().BoolVar(&keepNewer, "keep-newer", false, "let those of a newer version be, instead of failing")
	group.AddCommand(apply)
	return group
}
