package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/elastichub/elastichub/kernels/agent"
)

func agentCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "agent",
		Short: "Supervise the kernel of the Pod, which run-kernel starts in the container beside",
		Long: `Supervise the kernel of the Pod. The agent is configured by ELASTICHUB_* variables;
see docs/agent-protocol.md.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := agent.ConfigFromEnv(os.LookupEnv)
			if err != nil {
				return err
			}
			config.Log = logConfig{Level: "info", Format: "json"}.logger(cmd.Context(), os.Stderr)
			result, err := agent.Run(cmd.Context(), config)
			if err != nil {
				return err
			}
			if code := result.Code(); code != 0 {
				return exitCode(code)
			}
			return nil
		},
	}
}
