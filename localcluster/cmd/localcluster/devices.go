package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/elastichub/elastichub/localcluster/internal/cluster"
)

func publishDevicesCommand() *cobra.Command {
	var devices int
	cmd := &cobra.Command{
		Use:   "publish-devices",
		Short: "Be the driver of devices that Pods get by claims, until interrupted",
		Long: "Be the driver of devices that Pods get by claims (dynamic resource allocation):\n" +
			"publish them in a ResourceSlice of the node, with a DeviceClass that answers for the\n" +
			"extended resource example.com/gpu, and prepare claims. Ends with an interrupt, and\n" +
			"takes devices and class away.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if devices < 0 || devices > cluster.MostDevices {
				return fmt.Errorf("--devices is %d, and must be between 0 and %d", devices, cluster.MostDevices)
			}
			at, err := findDirectories()
			if err != nil {
				return err
			}
			return cluster.PublishDevices(cmd.Context(), at.layout, devices, func() {
				fmt.Fprintf(cmd.OutOrStdout(), "published %d devices\n", devices)
			})
		},
	}
	cmd.Flags().IntVar(&devices, "devices", 2, "how many devices there are")
	return cmd
}
