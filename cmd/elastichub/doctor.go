package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/elastichub/elastichub/doctor"
	"github.com/elastichub/elastichub/doctor/gather"
)

// doctorTime is how long an examination may take.
const doctorTime = 10 * time.Second

// Exit codes of doctor.
const (
	exitProblems    exitCode = 1
	exitUnreachable exitCode = 2
)

func doctorCommand() *cobra.Command {
	var kubeconfig, output string
	options := gather.Options{}
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Say what of a cluster and of the chart's values will not work, and how to mend it",
		Long: "Say what of a cluster and of the chart's values will not work, a line for each, and how to mend it.\n" +
			"It changes nothing. Without -f it takes the values that Helm was given for the release.\n\n" +
			"Exit status: 0 no problem found, 1 problems, 2 the cluster cannot be asked.",
		Example: "  elastichub doctor -n jupyterhub -f values.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output: %q is not one of text, json", output)
			}
			config, err := clusterConfig(kubeconfig, &options.Namespace)
			if err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), "elastichub: the cluster cannot be asked:", err)
				return exitUnreachable
			}
			config.QPS, config.Burst, config.Timeout = 200, 400, doctorTime
			ctx, cancel := context.WithTimeout(cmd.Context(), doctorTime)
			defer cancel()
			options.Inside = os.Getenv("KUBERNETES_SERVICE_HOST") != ""
			picture, err := gather.Gather(ctx, config, options)
			var unreachable *gather.UnreachableError
			if errors.As(err, &unreachable) {
				fmt.Fprintln(cmd.ErrOrStderr(), "elastichub:", err)
				return exitUnreachable
			}
			if err != nil {
				return err
			}
			report := doctor.Diagnose(picture)
			write := report.WriteText
			if output == "json" {
				write = report.WriteJSON
			}
			if err := write(cmd.OutOrStdout()); err != nil {
				return err
			}
			if len(report.Problems) > 0 {
				return exitProblems
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "file that says which cluster, and as whom; otherwise what KUBECONFIG names")
	flags.StringVarP(&options.Namespace, "namespace", "n", "", "namespace of the release; otherwise the one of the kubeconfig")
	flags.StringVar(&options.Release, "release", "elastichub", "name of the release")
	flags.StringSliceVarP(&options.ValuesFiles, "values", "f", nil, "values of the chart, YAML; several are put over each other")
	flags.StringVar(&output, "output", "text", "text or json")
	return command
}

// clusterConfig reads which cluster is meant, and as whom it is asked. It fills in the namespace, unless one is named.
func clusterConfig(kubeconfig string, namespace *string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	loaded := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{})
	if *namespace == "" {
		*namespace, _, _ = loaded.Namespace() // its fault is ClientConfig's
	}
	return loaded.ClientConfig()
}
