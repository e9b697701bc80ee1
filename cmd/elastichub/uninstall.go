package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/removal"
)

// removeTime bounds what follows the freeing of GPUs.
const removeTime = 3 * time.Minute

// uninstallOptions are what its flags say.
type uninstallOptions struct {
	everything, dryRun, forHelm bool
	confirm                     string
	patience                    time.Duration
}

func uninstallCommand() *cobra.Command {
	var kubeconfig string
	var options uninstallOptions
	site := removal.Site{Now: time.Now, By: "elastichub uninstall"}
	command := &cobra.Command{
		Use:   "uninstall",
		Short: "Take a release out of a cluster: kernels are parked first, and homes stay",
		Long: `Take a release out of a cluster, and say of each object whether it goes or stays.

Kernels are parked, with their variables where those are kept, then servers are stopped, then the
service ends; no kernel holds a GPU within a minute. Kernels that are busy are given --patience and
parked by force then: what they had in memory is lost.

Then the chart's objects go, and what the service had running. Homes, the chart's Secrets, the ledger
of hours and the objects of the six kinds stay, and the next install finds them. With --everything
Secrets, ledger and objects go as well, which cannot be brought back but from a backup: it needs
--confirm with the name of the namespace. Homes stay in any case, and so do the definitions of the
kinds, which other releases may use.

It may be repeated. The exit status is 0, 3 if some of it could not be removed or is not known, each
named with the reason, 2 if the cluster cannot be asked, and 1 if nothing was begun or it was broken off.`,
		Example: "  elastichub uninstall -n jupyterhub --dry-run\n  elastichub uninstall -n jupyterhub --everything --confirm jupyterhub",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if options.patience < 0 {
				return errors.New("--patience is less than nothing")
			}
			if options.forHelm && (options.everything || options.dryRun || options.confirm != "") {
				return errors.New("--for-helm goes with -n, --release and --patience alone: Helm removes the rest")
			}
			config, err := clusterConfig(kubeconfig, &site.Namespace)
			if err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), "elastichub: the cluster cannot be asked:", err)
				return exitUnreachable
			}
			config.QPS, config.Burst, config.Timeout = 100, 200, doctorTime
			scheme := runtime.NewScheme()
			if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
				return err
			}
			if site.API, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), "elastichub: the cluster cannot be asked:", err)
				return exitUnreachable
			}
			site.Tell = func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) }
			if options.forHelm {
				site.By = "helm uninstall"
				freeForHelm(cmd.Context(), site, options.patience)
				return nil
			}
			return uninstall(cmd.Context(), site, options, cmd.OutOrStdout())
		},
	}
	flags := command.Flags()
	flags.BoolVar(&options.everything, "everything", false, "objects of the six kinds, the chart's Secrets and the ledger, too; needs --confirm")
	flags.BoolVar(&options.dryRun, "dry-run", false, "say what goes and what stays, and change nothing")
	flags.StringVar(&options.confirm, "confirm", "", "name of the namespace, for --everything")
	flags.DurationVar(&options.patience, "patience", 10*time.Second, "how long busy kernels may go on")
	flags.BoolVar(&options.forHelm, "for-helm", false, "only free the GPUs, as the chart's Job does before Helm removes the release; exit status 0 whatever comes of it")
	flags.StringVar(&kubeconfig, "kubeconfig", "", "file that says which cluster, and as whom; otherwise what KUBECONFIG names")
	flags.StringVarP(&site.Namespace, "namespace", "n", "", "namespace of the release; otherwise the one of the kubeconfig")
	flags.StringVar(&site.Release, "release", "elastichub", "name of the release")
	return command
}

// freeForHelm says what there is to say: nothing is to keep Helm from going on.
func freeForHelm(ctx context.Context, site removal.Site, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience+removal.Longest)
	defer cancel()
	freed, err := site.FreeGPUs(ctx, patience, false)
	if err != nil {
		site.Tell("GPUs are not all freed: " + err.Error())
		return
	}
	site.Tell(freed.String())
}

func uninstall(ctx context.Context, site removal.Site, options uninstallOptions, out io.Writer) error {
	plan, err := site.Look(ctx, options.everything)
	if err != nil {
		return err
	}
	if options.dryRun {
		writePlan(out, plan)
		if len(plan.Unknown) > 0 {
			return exitIncomplete
		}
		return nil
	}
	if options.everything && options.confirm != site.Namespace {
		return fmt.Errorf("--everything removes what cannot be brought back but from a backup (elastichub backup): say --confirm %s. --dry-run lists it", site.Namespace)
	}
	freed, err := site.FreeGPUs(ctx, options.patience, true)
	if err != nil {
		return err
	}
	site.Tell(freed.String())
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	if plan, err = site.Look(ctx, options.everything); err != nil { // what was stopped has left less
		return err
	}
	remaining, err := site.Remove(ctx, plan)
	for _, r := range remaining {
		fmt.Fprintf(out, "%s cannot be removed: %s\n", r.Item, r.Why)
	}
	writeStays(out, plan, "")
	if err == nil && len(remaining)+len(plan.Unknown)+len(freed.Held) > 0 {
		return exitIncomplete
	}
	return err
}

func writePlan(out io.Writer, plan removal.Plan) {
	const dry = " (dry run)"
	for _, item := range plan.Kernels {
		fmt.Fprintf(out, "%s is parked%s\n", item, dry)
	}
	for _, item := range plan.Servers {
		fmt.Fprintf(out, "%s is stopped%s\n", item, dry)
	}
	for _, items := range [][]removal.Item{plan.Goes, plan.Last} {
		for _, item := range items {
			fmt.Fprintf(out, "%s is removed%s%s\n", item, dry, because(item.Why))
		}
	}
	writeStays(out, plan, dry)
}

func writeStays(out io.Writer, plan removal.Plan, dry string) {
	for _, item := range plan.Stays {
		fmt.Fprintf(out, "%s stays%s%s\n", item, dry, because(item.Why))
	}
	for _, text := range plan.Unknown {
		fmt.Fprintln(out, text)
	}
	fmt.Fprintln(out, "The definitions of the kinds stay. Where no other release uses them, kubectl delete crd removes them, and every object of theirs in the cluster.")
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}
