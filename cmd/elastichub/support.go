package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/elastichub/elastichub/doctor/gather"
	"github.com/elastichub/elastichub/support"
)

// supportTime is how long an archive may take.
const supportTime = 3 * time.Minute

func supportCommand() *cobra.Command {
	var kubeconfig, output, names string
	options := support.Options{Version: buildVersion()}
	command := &cobra.Command{
		Use:   "support",
		Short: "Write an archive with what a maintainer needs to see, without secrets and users' names",
		Long: "Write an archive with what a maintainer needs to see: what doctor says, the objects of the release's namespace, their events,\n" +
			"and logs and metrics of the service and of gateways. It changes nothing in the cluster.\n\n" +
			"Values of Secrets and of environment variables, users' names, mail addresses and the names of notebooks are not in it;\n" +
			"what notebooks and kernels print is not, either. Look at it before you send it.",
		Example: "  elastichub support -n jupyterhub -o support.tar.gz",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := clusterConfig(kubeconfig, &options.Namespace)
			if err != nil {
				return fmt.Errorf("the cluster cannot be asked: %w", err)
			}
			config.QPS, config.Burst = 200, 400
			ctx, cancel := context.WithTimeout(cmd.Context(), supportTime)
			defer cancel()
			made, err := writeSupport(output, func(file *os.File) (support.Made, error) { return support.Collect(ctx, config, options, file) })
			var unreachable *gather.UnreachableError
			if errors.As(err, &unreachable) {
				return unreachable
			}
			if err != nil {
				return err
			}
			for _, missing := range made.Missing {
				fmt.Fprintln(cmd.ErrOrStderr(), "left out:", missing)
			}
			if names != "" {
				if err := writeNames(names, made.Names); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d files, %d users' names replaced. Look at it before you send it.\n", output, made.Files, len(made.Names))
			return err
		},
	}
	flags := command.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "file that says which cluster, and as whom; otherwise what KUBECONFIG names")
	flags.StringVarP(&options.Namespace, "namespace", "n", "", "namespace of the release; otherwise the one of the kubeconfig")
	flags.StringVar(&options.Release, "release", "elastichub", "name of the release")
	flags.StringVarP(&output, "output", "o", "elastichub-support.tar.gz", "file to write; it must not be there yet")
	flags.StringVar(&names, "names", "", "file to write that says which user each user-N is, for yourself")
	flags.DurationVar(&options.Since, "since", 24*time.Hour, "how much of the logs")
	flags.Int64Var(&options.LogBytes, "log-bytes", 4<<20, "most bytes of each log, the last")
	return command
}

// writeSupport leaves no half file.
func writeSupport(output string, write func(*os.File) (support.Made, error)) (made support.Made, err error) {
	file, err := create(output)
	if err != nil {
		return made, err
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			err = errors.Join(err, os.Remove(output))
		}
	}()
	return write(file)
}

// create makes a file that only its user reads, and that was not there.
func create(name string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s is there already: name another with --output, or move it away", name)
	}
	return file, err
}

func writeNames(name string, stands map[string]string) error {
	file, err := create(name)
	if err != nil {
		return err
	}
	users := make([]string, 0, len(stands))
	for user := range stands {
		users = append(users, user)
	}
	slices.Sort(users)
	for _, user := range users {
		if _, err := fmt.Fprintf(file, "%s\t%s\n", stands[user], user); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	return file.Close()
}
