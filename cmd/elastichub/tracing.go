package main

import (
	"log/slog"
	"os"

	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/elastichub/elastichub/tracing"
)

// startTracing returns nil where nothing is recorded.
func startTracing(mgr manager.Manager, config tracing.Config, log *slog.Logger) (*tracing.Tracer, error) {
	tracer := tracing.New(config, "service", podName(), buildVersion(), log)
	if tracer == nil {
		return nil, nil
	}
	return tracer, mgr.Add(tracer)
}

// podName tells replicas apart. A Pod's host name is its own.
func podName() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
