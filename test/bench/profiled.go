package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/gateway"
)

// profiled runs `elastichub gateway` or `elastichub agent` with a CPU profile,
// which the program itself does not offer. It is written when the process ends.
func profiled(path string, args []string) error {
	if err := os.MkdirAll(path[:strings.LastIndexByte(path, '/')], 0o755); err != nil {
		return err
	}
	file, err := os.Create(fmt.Sprintf("%s-%d.pprof", path, os.Getpid()))
	if err != nil {
		return err
	}
	defer file.Close()
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch args[0] {
	case "agent":
		config, err := agent.ConfigFromEnv(os.LookupEnv)
		if err != nil {
			return err
		}
		_, err = agent.Run(ctx, config)
		return err
	case "gateway":
		ctrl.SetLogger(logr.Discard())
		config := gateway.Default()
		for name, target := range map[string]*string{
			"NAMESPACE": &config.Namespace, "NAME": &config.Name, "KEY_FILE": &config.KeyFile, "TOKEN_PUBLIC_KEY_FILE": &config.TokenKeyFile,
			"CLIENTS_DIR": &config.ClientsDir, "LISTEN": &config.Listen, "METRICS_LISTEN": &config.Health,
		} {
			*target = os.Getenv("ELASTICHUB_GATEWAY_" + name)
		}
		rest, err := ctrl.GetConfig()
		if err != nil {
			return err
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		return gateway.Run(ctx, config, rest, registry, nil, slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	}
	return fmt.Errorf("no subcommand %q", args[0])
}
