package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/elastichub/elastichub/kernels/agent"
)

func agentCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "agent -- COMMAND [ARGUMENT...]",
		Short: "Supervise the kernel that COMMAND starts; the first process of a kernel container",
		Long: `Supervise the kernel that COMMAND starts. {connection_file} in its arguments is
filled in. The agent is configured by ELASTICHUB_* variables; see docs/agent-protocol.md.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, argv []string) error {
			config, err := agent.ConfigFromEnv(os.LookupEnv)
			if err != nil {
				return err
			}
			config.Log = slog.New(slog.NewJSONHandler(os.Stderr, nil))
			result, err := agent.Run(cmd.Context(), config, argv)
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
