package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Signals that change what a running process logs: signals reach it where nothing else does.
const (
	signalDebug      = syscall.SIGUSR1
	signalConfigured = syscall.SIGUSR2
)

// levels are what log-level takes.
var levels = map[string]syscall.Signal{"debug": signalDebug, "configured": signalConfigured}

// heedSignals sets the level as the signals say, until ctx ends.
func heedSignals(ctx context.Context, level *slog.LevelVar, log *slog.Logger) {
	configured := level.Level()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, signalDebug, signalConfigured)
	go func() {
		defer signal.Stop(asked)
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-asked:
				level.Set(configured)
				if s == signalDebug {
					level.Set(slog.LevelDebug)
				}
				log.Log(ctx, max(level.Level(), slog.LevelInfo), "the level of the log has changed", "level", level.Level())
			}
		}
	}()
}

func logLevelCommand() *cobra.Command {
	pid := 1
	command := &cobra.Command{
		Use:   "log-level {debug|configured}",
		Short: "Have a running service, gateway or agent log more, or as it is configured",
		Long: "Have the service, gateway or agent of this container log more, or as it is configured again. It forgets that when it is restarted.\n" +
			"Each Pod is told by itself.",
		Example:   "  kubectl -n jupyterhub exec deploy/elastichub -- /elastichub log-level debug",
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"debug", "configured"},
		RunE: func(_ *cobra.Command, args []string) error {
			level, known := levels[args[0]]
			if !known {
				return fmt.Errorf("%q is not one of debug, configured", args[0])
			}
			if err := syscall.Kill(pid, level); err != nil {
				return fmt.Errorf("process %d: %w", pid, err)
			}
			return nil
		},
	}
	command.Flags().IntVar(&pid, "pid", pid, "the process; the first of a container is 1")
	return command
}
