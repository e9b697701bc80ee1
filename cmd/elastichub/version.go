package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
)

// version is set by the linker for releases.
var version = ""

// buildVersion is the release, or the commit the binary was built from.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "", ""
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			revision = setting.Value[:min(12, len(setting.Value))]
		case "vcs.modified":
			if setting.Value == "true" {
				modified = "-modified"
			}
		}
	}
	if revision == "" {
		return info.Main.Version
	}
	return revision + modified
}

// Parts that tell Prometheus their version.
const (
	partService = "service"
	partGateway = "gateway"
)

// tellVersion has the version told, so that an upgrade that stops half way is seen.
func tellVersion(registry prometheus.Registerer, part string) error {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "elastichub_build_info", Help: "1, by the version that runs and the part that it is of: service, gateway.",
	}, []string{"part", "version"})
	info.WithLabelValues(part, buildVersion()).Set(1)
	if err := registry.Register(info); err != nil {
		return fmt.Errorf("metrics of the version: %w", err)
	}
	return nil
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, the Go version and the platform",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "elastichub %s %s %s/%s\n",
				buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}
