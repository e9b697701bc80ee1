package main

import "github.com/spf13/cobra"

// holdCommand is what runs in an image that is to stay on a node: nothing, until it is ended.
func holdCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "hold",
		Short: "Do nothing until it is ended, in a container whose image is to stay on its node",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			<-cmd.Context().Done()
			return nil
		},
	}
}
