package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/elastichub/elastichub/plugin/consoleapi"
	"github.com/elastichub/elastichub/rotation"
	"github.com/elastichub/elastichub/rotation/renew"
)

// askTime bounds one question to a Pod.
const askTime = 5 * time.Second

func rotateCommand() *cobra.Command {
	var kubeconfig string
	var list bool
	renewal := renew.Renewal{Site: renew.Site{}, Now: time.Now}
	command := &cobra.Command{
		Use:   "rotate NAME [GATEWAY]",
		Short: "Change a secret of a release while people work",
		Long: "Change a secret of a release while people work: a new value is put beside the one that is there, takes its\n" +
			"place when all processes that read it have it, and the former counts for a time. --list names the secrets.\n\n" +
			"With --cut-off the former counts no more, within a minute: for one that has leaked. What that costs is\n" +
			"said before; --dry-run says it and changes nothing.\n\n" +
			"Each gateway has a key of its own, gateway-key: name the gateway as NAME or NAMESPACE/NAME.\n\n" +
			"It needs the rights to read and patch that Secret, to list and patch Pods, and to create pods/portforward;\n" +
			"for gateway-key also to list and patch Deployments.",
		Example: "  elastichub rotate signing -n jupyterhub\n  elastichub rotate hub-token -n jupyterhub --cut-off --dry-run\n  elastichub rotate gateway-key gpus -n jupyterhub",
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if list {
				if len(args) > 0 {
					return errors.New("--list takes no name")
				}
				return listSecrets(cmd.OutOrStdout())
			}
			if len(args) == 0 {
				return errors.New("name a secret; --list names them all")
			}
			secret, err := renew.Find(args[0])
			if err != nil {
				return err
			}
			if !secret.Made() {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: nothing is changed, since elastichub does not make it. %s\n", secret.Name, secret.Owner)
				return nil
			}
			if len(args) > 1 {
				if !secret.OfGateway() {
					return fmt.Errorf("%s is not a gateway's: give no name of one", secret.Name)
				}
				renewal.Gateway = args[1]
			}
			if renewal.FormerFor < 0 || renewal.Patience <= 0 {
				return errors.New("--former-for must not be negative, and --timeout must be positive")
			}
			if renewal.CutOff && cmd.Flags().Changed("former-for") {
				return errors.New("--cut-off and --former-for: with the first there is no former")
			}
			renewal.Secret, renewal.Out = secret, cmd.OutOrStdout()
			if !cmd.Flags().Changed("former-for") {
				renewal.FormerFor = secret.FormerFor
			}
			config, err := clusterConfig(kubeconfig, &renewal.Site.Namespace)
			if err != nil {
				return fmt.Errorf("the cluster cannot be asked: %w", err)
			}
			if renewal.Site.API, err = kubernetes.NewForConfig(config); err != nil {
				return fmt.Errorf("the cluster cannot be asked: %w", err)
			}
			renewal.Ask = func(ctx context.Context, reader renew.Reader) (map[string]string, error) {
				return askMarks(ctx, config, reader)
			}
			return renewal.Run(cmd.Context())
		},
	}
	flags := command.Flags()
	flags.BoolVar(&list, "list", false, "name the secrets, who reads them and how each is changed")
	flags.BoolVar(&renewal.CutOff, "cut-off", false, "the former counts no more at once: for one that has leaked")
	flags.BoolVar(&renewal.DryRun, "dry-run", false, "say what would be done and what it costs, and change nothing")
	flags.DurationVar(&renewal.FormerFor, "former-for", 0, "how long the former counts (default: what --list says)")
	flags.DurationVar(&renewal.Patience, "timeout", 3*time.Minute, "how long the processes may take to read the new value")
	flags.StringVar(&kubeconfig, "kubeconfig", "", "file that says which cluster, and as whom; otherwise what KUBECONFIG names")
	flags.StringVarP(&renewal.Site.Namespace, "namespace", "n", "", "namespace of the release; otherwise the one of the kubeconfig")
	flags.StringVar(&renewal.Site.Release, "release", "elastichub", "name of the release")
	return command
}

func listSecrets(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tWHAT\tWHO READS IT\tCHANGED BY")
	for _, s := range renew.All {
		by := "its owner"
		switch {
		case s.Made() && s.FormerFor > 0:
			by = fmt.Sprintf("rotate; the former counts for %d h", s.FormerFor/time.Hour)
		case s.Made():
			by = "rotate; at once"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Name, s.What, s.Readers, by)
	}
	return w.Flush()
}

// askMarks asks a Pod which steps of rotations it has read.
func askMarks(ctx context.Context, config *rest.Config, reader renew.Reader) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	address, closed, err := consoleapi.Forward(ctx, config, reader.Namespace, reader.Pod, reader.Port)
	if err != nil {
		return nil, fmt.Errorf("no port-forward: %w", err)
	}
	defer closed()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+rotation.Path, nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, renew.ErrOld
	}
	var seen map[string]string
	err = json.NewDecoder(io.LimitReader(answer.Body, 64<<10)).Decode(&seen)
	return seen, err
}

// secretsTime bounds the making of Secrets.
const secretsTime = 2 * time.Minute

func secretsCommand() *cobra.Command {
	group := &cobra.Command{Use: "secrets", Short: "The Secrets of a release that elastichub makes"}
	var make renew.Making
	var names []string
	command := &cobra.Command{
		Use:   "make",
		Short: "Make those Secrets of a release that are missing",
		Long: "Make those Secrets of a release that are missing, and change none that is there. The chart's Job runs it,\n" +
			"with the account of its Pod; elsewhere it uses what KUBECONFIG names.",
		Example: "  elastichub secrets make -n jupyterhub --release elastichub --make signing=elastichub-signing",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if make.Namespace == "" {
				make.Namespace = os.Getenv("POD_NAMESPACE")
			}
			config, err := clusterConfig("", &make.Namespace)
			if err != nil {
				return fmt.Errorf("the cluster cannot be asked: %w", err)
			}
			if make.API, err = kubernetes.NewForConfig(config); err != nil {
				return fmt.Errorf("the cluster cannot be asked: %w", err)
			}
			make.Out = cmd.OutOrStdout()
			ctx, cancel := context.WithTimeout(cmd.Context(), secretsTime)
			defer cancel()
			return make.Run(ctx, names)
		},
	}
	flags := command.Flags()
	flags.StringVarP(&make.Namespace, "namespace", "n", "", "namespace of the release")
	flags.StringVar(&make.Release, "release", "elastichub", "name of the release")
	flags.StringArrayVar(&names, "make", nil, "which secret, and the name of its Secret: signing=elastichub-signing")
	_ = command.MarkFlagRequired("make")
	group.AddCommand(command)
	return group
}
