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
	Nodes   int               `json:"nodes,omitempty"`   // none of former releases, which knew one
	Bin     string            `json:"bin"`               // directory of the components' programs
	NodeIP  string            `json:"nodeIP"`            // an address of this machine, not loopback
	NodeIP6 string            `json:"nodeIP6,omitempty"` // its second one, of Dual
	Family  Family            `json:"ipFamily,omitempty"`
	Sysctls map[string]string `json:"sysctls"` // kernel settings as they were before
}

// nodeIPs are the first node's.
func (o Options) nodeIPs() []string {
	if o.NodeIP6 == "" {
		return []string{o.NodeIP}
	}
	return []string{o.NodeIP, o.NodeIP6}
}

// fits reports that nodes, if that many are wanted, go with the rest.
func (o Options) fits(nodes *int) error {
	if o.Family.has6() && nodes != nil && *nodes > 1 {
		return fmt.Errorf("a second node has addresses of IPv4 alone, and the cluster is of --ip-family %s", o.Family)
	}
	return nil
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
