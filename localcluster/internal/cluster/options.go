package cluster

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/elastichub/elastichub/localcluster/internal/host"
)

// Options are what one cluster was started with. GPUs and Nodes may
// change while it runs; the rest may not.
type Options struct {
	GPUs    int               `json:"gpus"`
	Nodes   int               `json:"nodes,omitempty"` // none of former releases, which knew one
	Bin     string            `json:"bin"`             // directory of the components' programs
	NodeIP  string            `json:"nodeIP"`          // an address of this machine, not loopback
	Sysctls map[string]string `json:"sysctls"`         // kernel settings as they were before
}

func (l Layout) readOptions() (Options, error) {
	var options Options
	data, err := os.ReadFile(l.options())
	if err != nil {
		return options, err
	}
	if err := json.Unmarshal(data, &options); err != nil {
		return options, fmt.Errorf("%s: %w", l.options(), err)
	}
	return options, nil
}

func (l Layout) writeOptions(options Options) error {
	data, err := json.MarshalIndent(options, "", "  ")
	if err != nil {
		return err
	}
	return host.WriteFile(l.options(), data, 0o600)
}
