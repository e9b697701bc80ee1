package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/elastichub/elastichub/plugin"
	"github.com/elastichub/elastichub/portal/acts"
)

// Names by which kubectl calls the binary.
const (
	kubectlName  = "kubectl-elastichub"
	completeName = "kubectl_complete-elastichub"
)

const (
	kubectlTime = 30 * time.Second
	// completeTime is how long a shell waits for names.
	completeTime = 3 * time.Second
)

// commandFor is the command of the name by which the binary was called, and its arguments.
func commandFor(args []string) (*cobra.Command, []string) {
	switch strings.TrimSuffix(filepath.Base(args[0]), ".exe") {
	case completeName:
		return kubectlCommand(), append([]string{cobra.ShellCompRequestCmd}, args[1:]...)
	case kubectlName:
		return kubectlCommand(), args[1:]
	}
	return command(), args[1:]
}

// kubectlCommand is kubectl's plugin.
func kubectlCommand() *cobra.Command {
	root := &cobra.Command{
		Use: kubectlName, Short: "Who holds what of notebook servers and kernels, why, and how it is released",
		Annotations:  map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl elastichub"},
		SilenceUsage: true, SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(kubectlCommands()...)
	root.AddCommand(versionCommand())
	return root
}

// clusterFlags say which cluster, as whom, and how its objects are shown.
type clusterFlags struct {
	rules     *clientcmd.ClientConfigLoadingRules
	overrides clientcmd.ConfigOverrides
	everybody bool
	output    string
}

func newClusterFlags(command *cobra.Command, output bool) *clusterFlags {
	f := &clusterFlags{rules: clientcmd.NewDefaultClientConfigLoadingRules()}
	flags := command.Flags()
	flags.StringVar(&f.rules.ExplicitPath, clientcmd.RecommendedConfigPathFlag, "", "file that says which clusters there are; otherwise what KUBECONFIG names")
	clientcmd.BindOverrideFlags(&f.overrides, flags, clientcmd.RecommendedConfigOverrideFlags(""))
	if output {
		flags.BoolVarP(&f.everybody, "all-namespaces", "A", false, "look in all namespaces")
		flags.StringVarP(&f.output, "output", "o", "", "one of "+strings.Join(plugin.Formats, ", ")+"; otherwise a table")
		_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(plugin.Formats, cobra.ShellCompDirectiveNoFileComp))
	}
	_ = command.RegisterFlagCompletionFunc(clientcmd.FlagContext, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		config, err := f.rules.Load()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.Sorted(maps.Keys(config.Contexts)), cobra.ShellCompDirectiveNoFileComp
	})
	return f
}

// connect is how the cluster is reached, and the namespace; empty: all.
func (f *clusterFlags) connect() (*rest.Config, string, error) {
	loaded := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(f.rules, &f.overrides)
	config, err := loaded.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("the cluster cannot be asked: %w", err)
	}
	namespace, _, err := loaded.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("the cluster cannot be asked: %w", err)
	}
	if f.everybody {
		namespace = ""
	}
	return config, namespace, nil
}

func (f *clusterFlags) open() (*plugin.Cluster, error) {
	config, namespace, err := f.connect()
	if err != nil {
		return nil, err
	}
	return plugin.Open(config, namespace)
}

func (f *clusterFlags) checkOutput() error {
	if f.output != "" && !slices.Contains(plugin.Formats, f.output) {
		return fmt.Errorf("--output: %q is not one of %s", f.output, strings.Join(plugin.Formats, ", "))
	}
	return nil
}

func (f *clusterFlags) printer(cmd *cobra.Command) plugin.Printer {
	return plugin.Printer{Out: cmd.OutOrStdout(), Format: plugin.Format(f.output), Namespaces: f.everybody, Now: time.Now()}
}

// look runs what only reads.
func (f *clusterFlags) look(cmd *cobra.Command, show func(context.Context, *plugin.Cluster, plugin.Printer) (missing []string, err error)) error {
	if err := f.checkOutput(); err != nil {
		return err
	}
	cluster, err := f.open()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), kubectlTime)
	defer cancel()
	missing, err := show(ctx, cluster, f.printer(cmd))
	for _, sentence := range missing {
		fmt.Fprintln(cmd.ErrOrStderr(), sentence)
	}
	return err
}

// complete gives the shell names of some kinds.
func (f *clusterFlags) complete(kinds ...string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		cluster, err := f.open()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTime)
		defer cancel()
		seen, err := cluster.Read(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for name, what := range seen.Names(kinds...) {
			if strings.HasPrefix(name, begun) {
				names = append(names, name+"\t"+what)
			}
		}
		slices.Sort(names)
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func kubectlCommands() []*cobra.Command {
	return []*cobra.Command{topCommand(), whyCommand(), listCommand(), queueCommand(), releaseCommand(), stopCommand(), startCommand(), explainUserCommand(), hoursCommand()}
}

func topCommand() *cobra.Command {
	all := []string{string(plugin.Users), string(plugin.Policies), string(plugin.Nodes)}
	command := &cobra.Command{
		Use: "top [users|policies|nodes]", Short: "Say who holds what: devices, CPU and memory by user, policy or node",
		Args: cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs), ValidArgs: all,
	}
	flags := newClusterFlags(command, true)
	command.RunE = func(cmd *cobra.Command, args []string) error {
		by := plugin.Users
		if len(args) > 0 {
			by = plugin.By(args[0])
		}
		return flags.look(cmd, func(ctx context.Context, c *plugin.Cluster, p plugin.Printer) ([]string, error) {
			seen, err := c.Read(ctx)
			if err != nil {
				return nil, err
			}
			return seen.Missing, p.Top(by, seen.Top(by))
		})
	}
	return command
}

func whyCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "why POD|USER|KERNEL|SERVER", Short: "Say why something waits, or why it was stopped or parked",
		Long: "Say why something waits, or why it was stopped or parked: a kernel (its id, or the beginning of it), a server,\n" +
			"a Pod of theirs, or all that a user has. kernel/NAME, server/NAME, pod/NAME and user/NAME are that alone.",
		Args: cobra.ExactArgs(1),
	}
	flags := newClusterFlags(command, true)
	command.ValidArgsFunction = flags.complete("kernel", "server", "user", "pod")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.look(cmd, func(ctx context.Context, c *plugin.Cluster, p plugin.Printer) ([]string, error) {
			answers, missing, err := c.Why(ctx, args[0])
			if err != nil {
				return missing, err
			}
			return missing, p.Why(answers)
		})
	}
	return command
}

func listCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "list [servers|kernels]", Short: "List servers and kernels",
		Args: cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs), ValidArgs: []string{"servers", "kernels"},
	}
	flags := newClusterFlags(command, true)
	command.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.look(cmd, func(ctx context.Context, c *plugin.Cluster, p plugin.Printer) ([]string, error) {
			seen, err := c.Read(ctx)
			if err != nil {
				return nil, err
			}
			return seen.Missing, p.List(seen, strings.Join(args, ""))
		})
	}
	return command
}

func queueCommand() *cobra.Command {
	command := &cobra.Command{Use: "queue", Short: "List the kernels that wait, in order, with reasons", Args: cobra.NoArgs}
	flags := newClusterFlags(command, true)
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		return flags.look(cmd, func(ctx context.Context, c *plugin.Cluster, p plugin.Printer) ([]string, error) {
			seen, err := c.Read(ctx)
			if err != nil {
				return nil, err
			}
			return seen.Missing, p.Queue(seen.Queue())
		})
	}
	command.AddCommand(moveCommand())
	return command
}

func moveCommand() *cobra.Command {
	chosen := map[acts.Place]*bool{acts.First: new(bool), acts.Last: new(bool), acts.Turn: new(bool)}
	command, _ := wishCommand("move KERNEL", "Move a kernel in the queue, until it has started; quotas bind it all the same", "kernel",
		func(c *plugin.Cluster, ctx context.Context, name string, w plugin.Wish) (plugin.Done, error) {
			for place, is := range chosen {
				if *is {
					return c.Move(ctx, name, place, w)
				}
			}
			return plugin.Done{}, acts.ErrNoPlace // the flags see to it that one is there
		})
	command.Flags().BoolVar(chosen[acts.First], string(acts.First), false, "to the front")
	command.Flags().BoolVar(chosen[acts.Last], string(acts.Last), false, "to the end")
	command.Flags().BoolVar(chosen[acts.Turn], string(acts.Turn), false, "back to its turn")
	command.MarkFlagsOneRequired(acts.Places...)
	command.MarkFlagsMutuallyExclusive(acts.Places...)
	return command
}

// wishCommand is a command that asks for something of one object.
func wishCommand(use, short, kind string, ask func(*plugin.Cluster, context.Context, string, plugin.Wish) (plugin.Done, error)) (*cobra.Command, *plugin.Wish) {
	command := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1)}
	wish, dryRun := &plugin.Wish{}, ""
	flags := newClusterFlags(command, false)
	command.Flags().StringVar(&wish.Reason, "reason", "", "why, for its user; what has a user needs one")
	command.Flags().StringVar(&dryRun, "dry-run", "none", "none, or server: the API server checks everything and writes nothing")
	_ = command.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions([]string{"none", "server"}, cobra.ShellCompDirectiveNoFileComp))
	command.ValidArgsFunction = flags.complete(kind)
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if dryRun != "none" && dryRun != "server" {
			return fmt.Errorf("--dry-run: %q is not one of none, server", dryRun)
		}
		wish.DryRun = dryRun == "server"
		cluster, err := flags.open()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), kubectlTime)
		defer cancel()
		done, err := ask(cluster, ctx, args[0], *wish)
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), done.Text)
		if done.Missing != "" {
			fmt.Fprintln(cmd.ErrOrStderr(), done.Missing)
		}
		return nil
	}
	return command, wish
}

func releaseCommand() *cobra.Command {
	command, wish := wishCommand("release KERNEL", "Park a kernel, so that what it holds is free, or take it out of the queue", "kernel", (*plugin.Cluster).Release)
	command.Flags().BoolVar(&wish.Force, "force", false, "release it though it is busy; what its memory held is lost")
	return command
}

func stopCommand() *cobra.Command {
	command, _ := wishCommand("stop SERVER", "Stop a server; the kernels of one that has a user go on to their idle limit", "server", (*plugin.Cluster).Stop)
	return command
}

func startCommand() *cobra.Command {
	command, _ := wishCommand("start SERVER", "Start a stopped server that no Hub starts", "server", (*plugin.Cluster).Start)
	return command
}
