package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
)

func policyCommand() *cobra.Command {
	command := &cobra.Command{Use: "policy", Short: "Ask about policies"}
	command.AddCommand(explainCommand())
	return command
}

func explainCommand() *cobra.Command {
	var file string
	var asJSON bool
	command := &cobra.Command{
		Use:   "explain USER",
		Short: "Say which groups a user has, which policies match, what the user may have, and why",
		Example: `  kubectl exec deploy/elastichub -- /elastichub policy explain alice \
    --config /etc/elastichub/config.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := loadServeConfig(file, os.Environ())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
			defer cancel()
			explanation, err := explain(ctx, config, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(explanation)
			}
			return explanation.WriteText(cmd.OutOrStdout())
		},
	}
	command.Flags().StringVar(&file, "config", "", "configuration file of the service, YAML")
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return command
}

func explain(ctx context.Context, config serveConfig, user string) (groups.Explanation, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return groups.Explanation{}, err
	}
	rest, err := ctrl.GetConfig()
	if err != nil {
		return groups.Explanation{}, fmt.Errorf("kubernetes: %w", err)
	}
	api, err := client.New(rest, client.Options{Scheme: scheme})
	if err != nil {
		return groups.Explanation{}, fmt.Errorf("kubernetes: %w", err)
	}
	members, closeSource, err := newMembers(config.Groups, prometheus.NewRegistry())
	if err != nil {
		return groups.Explanation{}, fmt.Errorf("groups: %w", err)
	}
	defer closeSource()
	policies := policyLister{api, config.Namespace}
	return groups.NewService(members, policies, groups.Matching(config.Policies.Matching)).Explain(ctx, user), nil
}
