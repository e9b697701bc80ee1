package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/elastichub/elastichub/kernels/gateway"
	"github.com/elastichub/elastichub/tracing"
)

func gatewayCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "gateway",
		Short: "Run a replica of a JupyterGateway: Jupyter's kernel API for notebook servers",
		Long: `Run a replica of a JupyterGateway. The controllers start it and configure it by
ELASTICHUB_GATEWAY_* variables; what concerns its kernels is in the JupyterGateway.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, logging, traces, err := gatewayConfig(os.LookupEnv)
			if err != nil {
				return err
			}
			return runGateway(cmd.Context(), config, traces, logging.logger(cmd.Context(), os.Stdout))
		},
	}
}

// gatewayConfig reads what the JupyterGateway controller sets.
func gatewayConfig(lookup func(string) (string, bool)) (gateway.Config, logConfig, tracing.Config, error) {
	config := gateway.Default()
	logging := logConfig{Level: "info", Format: "json"}
	traces := tracing.Config{SamplePercent: 100}
	for name, target := range map[string]*string{
		"ELASTICHUB_GATEWAY_NAMESPACE":             &config.Namespace,
		"ELASTICHUB_GATEWAY_NAME":                  &config.Name,
		"ELASTICHUB_GATEWAY_KEY_FILE":              &config.KeyFile,
		"ELASTICHUB_GATEWAY_TOKEN_PUBLIC_KEY_FILE": &config.TokenKeyFile,
		"ELASTICHUB_GATEWAY_CLIENTS_DIR":           &config.ClientsDir,
		"ELASTICHUB_GATEWAY_LISTEN":                &config.Listen,
		"ELASTICHUB_GATEWAY_METRICS_LISTEN":        &config.Health,
		"ELASTICHUB_GATEWAY_METRICS_TOKEN_FILE":    &config.MetricsTokenFile,
		"ELASTICHUB_GATEWAY_POLICY_NAMESPACE":      &config.PolicyNamespace,
		"ELASTICHUB_GATEWAY_SERVICE_VERSION":       &config.ServiceVersion,
		"ELASTICHUB_LOG_LEVEL":                     &logging.Level,
		"ELASTICHUB_TRACING_ENDPOINT":              &traces.Endpoint,
	} {
		if value, ok := lookup(name); ok {
			*target = value
		}
	}
	if others, ok := lookup("ELASTICHUB_GATEWAY_ALSO_SERVES"); ok && others != "" {
		config.AlsoServes = strings.Split(others, ",")
	}
	config.MessageBytes = min(config.MessageBytes, limitMemory(controlGroup)/10*messageTenths)
	faults := append(logging.validate(), config.Validate())
	if share, ok := lookup("ELASTICHUB_TRACING_SAMPLE_PERCENT"); ok {
		percent, err := strconv.ParseFloat(share, 64)
		if err != nil {
			faults = append(faults, fmt.Errorf("ELASTICHUB_TRACING_SAMPLE_PERCENT: %q is no number", share))
		}
		traces.SamplePercent = percent
	}
	if err := errors.Join(append(faults, traces.Validate())...); err != nil {
		return gateway.Config{}, logConfig{}, tracing.Config{}, fmt.Errorf("gateway configuration:\n%w", err)
	}
	return config, logging, traces, nil
}

// messageTenths is the part of the memory that messages may take. The rest is
// for caches and sockets, and for what is garbage but not collected yet.
const messageTenths = 4

func runGateway(ctx context.Context, config gateway.Config, traces tracing.Config, log *slog.Logger) error {
	slog.SetDefault(log)
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	log.Info("starting", "version", buildVersion(), "namespace", config.Namespace, "gateway", config.Name)

	rest, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("kubernetes: %w", err)
	}
	rest.QPS = -1 // as in serve
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := tellVersion(registry, partGateway); err != nil {
		return err
	}
	tracer := tracing.New(traces, "gateway", podName(), buildVersion(), log)
	return gateway.Run(ctx, config, rest, registry, tracer, log)
}
