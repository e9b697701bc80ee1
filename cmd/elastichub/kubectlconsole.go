package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elastichub/elastichub/plugin"
	"github.com/elastichub/elastichub/plugin/consoleapi"
)

var errNoUser = errors.New("that is no user's name")

// consoleCommand is a command that asks the console's API; page says which page of it.
func consoleCommand(command *cobra.Command, page func(args []string) (string, url.Values, error), show func(plugin.Printer, []byte) error) *cobra.Command {
	flags := newClusterFlags(command, true)
	target := consoleapi.Target{}
	command.Flags().StringVar(&target.Account, "service-account", "", "ServiceAccount of the namespace, with whose token and rights the console is asked")
	command.Flags().StringVar(&target.Service, "service", "elastichub", "Service of the release")
	command.Flags().StringVar(&target.BasePath, "base-path", "/services/elastichub/", "where the console is: portal.basePath")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if err := flags.checkOutput(); err != nil {
			return err
		}
		name, query, err := page(args)
		if err != nil {
			return err
		}
		config, namespace, err := flags.connect()
		if err != nil {
			return err
		}
		target.Namespace = namespace
		ctx, cancel := context.WithTimeout(cmd.Context(), kubectlTime)
		defer cancel()
		answer, err := consoleapi.Get(ctx, config, target, name, query)
		if err != nil {
			return err
		}
		return show(flags.printer(cmd), answer)
	}
	return command
}

func explainUserCommand() *cobra.Command {
	return consoleCommand(&cobra.Command{
		Use: "explain USER", Short: "Say what a user may have, and why: groups, policies and values, as the console tells them", Args: cobra.ExactArgs(1),
	}, func(args []string) (string, url.Values, error) {
		if strings.ContainsAny(args[0], "/%") || args[0] == "" || args[0] == "." || args[0] == ".." {
			return "", nil, errNoUser
		}
		return "users/" + args[0] + "/explanation", nil, nil
	}, plugin.Printer.Explanation)
}

func hoursCommand() *cobra.Command {
	by, days, months := "", 0, 0
	command := consoleCommand(&cobra.Command{
		Use: "hours [USER]", Short: "Say what was held, busy and saved, by all or by one user, as the console's ledger of hours has it", Args: cobra.MaximumNArgs(1),
	}, func(args []string) (string, url.Values, error) {
		if !slices.Contains(plugin.HoursBy, by) {
			return "", nil, fmt.Errorf("--by: %q is not one of %s", by, strings.Join(plugin.HoursBy, ", "))
		}
		query := url.Values{"by": {by}}
		for name, n := range map[string]int{"days": days, "months": months} {
			if n != 0 {
				query.Set(name, strconv.Itoa(n))
			}
		}
		if len(args) > 0 && args[0] == "" {
			return "", nil, errNoUser
		}
		if len(args) > 0 {
			query.Set("user", args[0])
		}
		return "usage", query, nil
	}, plugin.Printer.Hours)
	command.Flags().StringVar(&by, "by", plugin.HoursBy[0], "one of "+strings.Join(plugin.HoursBy, ", "))
	command.Flags().IntVar(&days, "days", 0, "of the last days in UTC, today included, 35 at most; 7 where neither days nor months are named")
	command.Flags().IntVar(&months, "months", 0, "of the last months, this one included, 24 at most")
	command.MarkFlagsMutuallyExclusive("days", "months")
	_ = command.RegisterFlagCompletionFunc("by", cobra.FixedCompletions(plugin.HoursBy, cobra.ShellCompDirectiveNoFileComp))
	return command
}
