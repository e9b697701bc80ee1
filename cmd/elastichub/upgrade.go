package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	chart "github.com/elastichub/elastichub/charts/elastichub"
	"github.com/elastichub/elastichub/skew"
	"github.com/elastichub/elastichub/upgrade"
)

// Exit codes of upgrade; that the cluster cannot be asked is exitUnreachable.
const (
	exitAgainst    exitCode = 1
	exitUnfinished exitCode = 3
)

func upgradeCommand() *cobra.Command {
	var kubeconfig, helm string
	u := &upgrade.Upgrade{Ours: skew.Release(), Kinds: chart.CRDs}
	command := &cobra.Command{
		Use:   "upgrade [-- CHART HELM-ARGUMENTS…]",
		Short: "Bring a release to the version of this binary while people work",
		Long: `Bring a release to the version of this binary while people work.

It looks first: which releases everything is of, what would change in the kinds, whether they take every
object that is stored, and what rolls. If nothing is against it, it applies the kinds, runs

  helm upgrade RELEASE --namespace NAMESPACE CHART HELM-ARGUMENTS…

with what follows --, waits until service and gateways have rolled, and says what it did. With nothing after --,
as where Flux or Argo CD roll, it applies the kinds and says what is left to do; run again, it waits for that.

Exit status: 0 done, or with --dry-run nothing is against it; 1 something is against it, which is said, and nothing
was touched; 2 the cluster or Helm cannot be asked, or there is no such release, and nothing was touched;
3 it was begun and is not finished.`,
		Example: "  elastichub upgrade -n jupyterhub --dry-run -- charts/elastichub -f values.yaml",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return errors.New("what Helm is given stands after --")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if u.Patience <= 0 {
				return errors.New("--timeout must be positive")
			}
			u.Out = cmd.OutOrStdout()
			err := connectUpgrade(u, kubeconfig)
			if err == nil {
				if len(args) > 0 {
					u.Helm = &upgrade.Helm{Program: helm, Kubeconfig: kubeconfig, Namespace: u.Namespace, Release: u.Release, Args: args, Out: cmd.ErrOrStderr()}
				}
				err = u.Run(cmd.Context())
			}
			return upgraded(err, cmd.ErrOrStderr())
		},
	}
	flags := command.Flags()
	flags.BoolVar(&u.DryRun, "dry-run", false, "look and say, and change nothing")
	flags.DurationVar(&u.Patience, "timeout", 10*time.Minute, "how long everything may take to roll")
	flags.StringVar(&helm, "helm", "helm", "the program")
	flags.StringVar(&kubeconfig, "kubeconfig", "", "file that says which cluster, and as whom; otherwise what KUBECONFIG names")
	flags.StringVarP(&u.Namespace, "namespace", "n", "", "namespace of the release; otherwise the one of the kubeconfig")
	flags.StringVar(&u.Release, "release", "elastichub", "name of the release")
	return command
}

// upgraded says what an upgrade came to, and is its exit status.
func upgraded(err error, errs io.Writer) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, upgrade.ErrAgainst):
		fmt.Fprintln(errs, "elastichub: nothing was touched")
		return exitAgainst
	case errors.Is(err, upgrade.ErrUnfinished):
		fmt.Fprintln(errs, "elastichub:", err)
		return exitUnfinished
	default:
		fmt.Fprintln(errs, "elastichub: nothing was touched:", err)
		return exitUnreachable
	}
}

func connectUpgrade(u *upgrade.Upgrade, kubeconfig string) error {
	config, err := clusterConfig(kubeconfig, &u.Namespace)
	if err != nil {
		return fmt.Errorf("the cluster cannot be asked: %w", err)
	}
	config.QPS, config.Burst = 100, 200
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme)); err != nil {
		return err
	}
	u.API, err = client.New(config, client.Options{Scheme: scheme})
	return err
}
