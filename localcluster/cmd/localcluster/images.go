package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elastichub/elastichub/localcluster/internal/images"
	"github.com/elastichub/elastichub/localcluster/internal/progress"
)

func buildImageCommand() *cobra.Command {
	var (
		request images.Request
		args    []string
	)
	cmd := &cobra.Command{
		Use:   "build-image --tag TAG [--file DOCKERFILE] [--build-arg NAME=VALUE]... CONTEXT",
		Short: "Build an image from a Dockerfile, unless nothing has changed",
		Long: "Build an image from a Dockerfile, unless nothing has changed.\n\n" +
			"A Dockerfile begins with `ARG BASE=<public image>` and `FROM ${BASE}`. Here BASE is\n" +
			images.Base + " (Debian, Python, tini) unless given; the other one made\n" +
			"here is " + images.Static + ", for static programs.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, positional []string) error {
			at, err := findDirectories()
			if err != nil {
				return err
			}
			request.Context = positional[0]
			if request.Dockerfile == "" {
				request.Dockerfile = request.Context + "/Dockerfile"
			}
			request.Args = make(map[string]string)
			for _, arg := range args {
				name, value, ok := strings.Cut(arg, "=")
				if !ok {
					return fmt.Errorf("--build-arg %q: want NAME=VALUE", arg)
				}
				request.Args[name] = value
			}
			store, err := images.Open(cmd.Context(), at.cache, progress.New(cmd.OutOrStdout()))
			if err != nil {
				return err
			}
			return store.Build(cmd.Context(), request)
		},
	}
	cmd.Flags().StringVarP(&request.Tag, "tag", "t", "", "name of the image")
	cmd.Flags().StringVarP(&request.Dockerfile, "file", "f", "", "the Dockerfile (default CONTEXT/Dockerfile)")
	cmd.Flags().StringArrayVar(&args, "build-arg", nil, "a build argument, NAME=VALUE")
	if err := cmd.MarkFlagRequired("tag"); err != nil {
		panic(err)
	}
	return cmd
}

func loadImageCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "load-image TAG...",
		Short: "Load built images into the cluster, unless they are there already",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, tags []string) error {
			at, err := findDirectories()
			if err != nil {
				return err
			}
			if _, err := at.layout.Status(cmd.Context()); err != nil {
				return err
			}
			store, err := images.Open(cmd.Context(), at.cache, progress.New(cmd.OutOrStdout()))
			if err != nil {
				return err
			}
			var failed []error
			for _, tag := range tags {
				failed = append(failed, store.Load(cmd.Context(), at.layout, tag))
			}
			return errors.Join(failed...)
		},
	}
}

func pushImageCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "push-image --to HOST[:PORT]/PATH:TAG TAG",
		Short: "Push a built image to a registry, unless it is there already, and print its name with its digest",
		Long: "Push a built image to a registry, unless it is there already, and print its name with its digest.\n\n" +
			"A registry of this machine's loopback is spoken to without TLS, all others with it, and with what\n" +
			"`buildah login` or `docker login` has stored.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := findDirectories()
			if err != nil {
				return err
			}
			store, err := images.Open(cmd.Context(), at.cache, progress.New(cmd.ErrOrStderr()))
			if err != nil {
				return err
			}
			pushed, err := store.Push(cmd.Context(), args[0], to)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), pushed)
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "what the image is called in the registry")
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic(err)
	}
	return cmd
}

func saveImageCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "save-image [--name NAME] TAG FILE",
		Short: "Write a built image to a file, as an OCI archive",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := findDirectories()
			if err != nil {
				return err
			}
			store, err := images.Open(cmd.Context(), at.cache, progress.New(cmd.OutOrStdout()))
			if err != nil {
				return err
			}
			if name == "" {
				name = args[0]
			}
			return store.Save(cmd.Context(), args[0], name, args[1])
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what the image is called in the archive (default TAG)")
	return cmd
}
