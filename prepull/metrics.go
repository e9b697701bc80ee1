package prepull

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/prepull/imagestate"
)

// metrics are the leader's. Labels are the images that policies and kernelspecs name, and
// imagestate.States.
type metrics struct{ nodes *prometheus.GaugeVec }

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "elastichub_prepull_nodes", Help: "Nodes that an image should be on before anybody needs it, by how far it is.",
	}, []string{"image", "state"})}
	if err := registry.Register(m.nodes); err != nil {
		return nil, fmt.Errorf("prepull: metrics: %w", err)
	}
	return m, nil
}

// show replaces what was shown.
func (m *metrics) show(images []imagestate.Image) {
	m.nodes.Reset()
	for _, image := range images {
		for _, state := range imagestate.States {
			m.nodes.WithLabelValues(image.Image, string(state)).Set(float64(image.Nodes.In(state)))
		}
	}
}
