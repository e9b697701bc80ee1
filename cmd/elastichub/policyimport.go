package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups/policyimport"
)

// exitIncomplete: the policies are written, and something was lost on the way.
const exitIncomplete = exitCode(3)

func importCommand() *cobra.Command {
	var images, kernels []string
	var output string
	command := &cobra.Command{
		Use:   "import FILE",
		Short: "Write GroupPolicies from KTS's formConf.yaml or KubeSpawner's profile_list",
		Long: `Write GroupPolicies from formConf.yaml of the custom KubeSpawner (KTS), or from
KubeSpawner's profile_list: YAML or JSON, alone or within the values of
zero-to-jupyterhub. FILE may be - for the standard input.

What cannot be carried over is listed on the standard error. The exit status is
0 if there is nothing of the kind, 3 if there is, and 1 if nothing was written.`,
		Example: `  elastichub policy import formConf.yaml --image stable=registry.example/lab:1 --kernel python > policies.yaml`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			options := policyimport.Options{Kernels: kernels}
			for _, text := range images {
				id, image, ok := strings.Cut(text, "=")
				if !ok || id == "" || image == "" {
					return fmt.Errorf("--image %q is not ID=IMAGE", text)
				}
				options.Images = append(options.Images, v1alpha1.ImageChannel{ID: id, Image: image})
			}
			text, err := readBounded(args[0], cmd.InOrStdin(), policyimport.MaxBytes)
			if err != nil {
				return err
			}
			result, err := policyimport.Import(text, options)
			if err != nil {
				return err
			}
			document, err := policyimport.YAML(result.Policies)
			if err != nil {
				return err
			}
			if output == "" {
				_, err = cmd.OutOrStdout().Write(document)
			} else {
				err = os.WriteFile(output, document, 0o644)
			}
			if err != nil {
				return err
			}
			for _, lost := range result.Lost {
				fmt.Fprintln(cmd.ErrOrStderr(), "not carried over:", lost)
			}
			if len(result.Lost) > 0 {
				return exitIncomplete
			}
			return nil
		},
	}
	command.Flags().StringArrayVar(&images, "image", nil, "an image channel of every policy, ID=IMAGE; may be repeated")
	command.Flags().StringArrayVar(&kernels, "kernel", nil, "a JupyterKernelSpec that every policy allows; may be repeated")
	command.Flags().StringVarP(&output, "output", "o", "", "file to write (default: the standard output)")
	return command
}

func readBounded(file string, standard io.Reader, most int64) ([]byte, error) {
	in := standard
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer opened.Close()
		in = opened
	}
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if int64(len(text)) > most {
		return nil, errors.New(file + " is too long")
	}
	return text, nil
}
