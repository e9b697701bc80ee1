package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elastichub/elastichub/mirror"
)

func mirrorCommand() *cobra.Command {
	var target mirror.Target
	var archive string
	var dryRun bool
	command := &cobra.Command{
		Use:   "mirror REGISTRY",
		Short: "Push the images of a release to a registry, and print the values of the chart that take them from there",
		Long: "Push the images of a release to a registry, HOST[:PORT][/PATH], and print the values of the chart that\n" +
			"take them from there. The archive is read and checked as a whole before anything is written; it needs no\n" +
			"cluster and no Docker.\n\n" +
			"What the registry has by its digest is not sent again: run it once more if it was broken off. Credentials are\n" +
			"those of docker login or podman login. A registry of this machine's loopback is spoken to without TLS,\n" +
			"all others with it.",
		Example: "  elastichub mirror registry.example.org/elastichub --archive elastichub-0.1.0.tar > mirror.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			target.Registry = strings.TrimSuffix(args[0], "/")
			target.UserAgent = "elastichub/" + buildVersion()
			if archive == "" {
				archive = "elastichub-" + buildVersion() + ".tar"
			}
			progress := cmd.ErrOrStderr()
			fmt.Fprintf(progress, "checking %s\n", archive)
			release, err := mirror.Open(archive)
			if err != nil {
				return err
			}
			defer release.Close()
			if err := release.Push(cmd.Context(), target, dryRun, progress); err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), mirror.Values(target.Registry))
			return err
		},
	}
	flags := command.Flags()
	flags.StringVar(&archive, "archive", "", "the archive of the release (default elastichub-VERSION.tar, of this binary's version)")
	flags.BoolVar(&dryRun, "dry-run", false, "say what would be pushed, and write nothing")
	flags.StringVar(&target.CAFile, "ca-file", "", "who signs the registry's certificate, as PEM (default: whom the system trusts)")
	flags.StringVar(&target.AuthFile, "auth-file", "", "credentials as docker and podman keep them (default: REGISTRY_AUTH_FILE, or where these keep theirs)")
	return command
}
