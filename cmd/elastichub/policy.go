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
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
)

func policyCommand() *cobra.Command {
	command := &cobra.Command{Use: "policy", Short: "Explain policies, or make them from what other spawners have"}
	command.AddCommand(explainCommand(), importCommand())
	return command
}

func explainCommand() *cobra.Command {
	var file, signInFile string
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
			signIn, err := readSignIn(signInFile)
			if err != nil {
				return fmt.Errorf("--sign-in: %w", err)
			}
			explanation, err := explain(ctx, config, args[0], signIn)
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
	command.Flags().StringVar(&signInFile, "sign-in", "", "what the Hub would send for sources that answer from it, JSON: sign_in with id_token, access_token, groups")
	return command
}

// readSignIn reads what the Hub would send, in the words of its requests.
func readSignIn(file string) (groups.SignIn, error) {
	if file == "" {
		return groups.SignIn{}, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return groups.SignIn{}, err
	}
	var said struct {
		SignIn struct {
			IDToken     groups.Token `json:"id_token"`
			AccessToken groups.Token `json:"access_token"`
			Groups      []string     `json:"groups"`
		} `json:"sign_in"`
	}
	if err := yaml.UnmarshalStrict(text, &said); err != nil {
		return groups.SignIn{}, fmt.Errorf("%s is not like {\"sign_in\": {\"groups\": []}}", file)
	}
	return groups.SignIn(said.SignIn), nil
}

func explain(ctx context.Context, config serveConfig, user string, signIn groups.SignIn) (groups.Explanation, error) {
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
	members, err := newDirectories(config.Groups, prometheus.NewRegistry())
	if err != nil {
		return groups.Explanation{}, err
	}
	defer members.Close()
	policies := policyLister{api, config.Namespace}
	service := groups.NewService(members, policies, config.Policies.Matching, members.signInReceivers...)
	service.Present(user, signIn)
	return service.Explain(ctx, user), nil
}
