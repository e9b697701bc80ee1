// Package cluster runs a Kubernetes of one node, or two: it renders the configuration
// of its components, starts and watches them, and takes everything away again.
package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
)

const (
	nodeName      = "localcluster"
	clusterDomain = "cluster.local"

	podCIDR     = "10.244.0.0/24"
	serviceCIDR = "10.96.0.0/16"
	apiService  = "10.96.0.1" // the first of serviceCIDR, by Kubernetes' rule
	dnsService  = "10.96.0.10"

	bridge = "elastichub0"

	etcdPort             = 2379
	apiPort              = 6443
	kubeletHealthPort    = 10248
	proxyMetricsPort     = 10249
	kubeletPort          = 10250
	proxyHealthPort      = 10256
	controllerHealthPort = 10257
	schedulerHealthPort  = 10259

	pauseImage   = "localhost/elastichub/pause:1"
	corednsImage = "localhost/elastichub/coredns:1"
)

var ports = []int{
	etcdPort, apiPort, kubeletHealthPort, proxyMetricsPort, kubeletPort, proxyHealthPort, controllerHealthPort,
	schedulerHealthPort,
}

// network is of IPv4, which alone knows a second node.
var network = IPv4.network()

// Layout says where a cluster keeps its files. Everything below Dir belongs to
// the cluster and goes with it.
type Layout struct {
	Dir string
}

// NewLayout returns the layout below the state directory.
func NewLayout(stateDir string) (Layout, error) {
	l := Layout{Dir: filepath.Join(stateDir, "localcluster")}
	return l, l.fits()
}

// fits fails if the name of its directory is too long: the kernel takes 107 bytes for a
// Unix socket's name.
func (l Layout) fits() error {
	if longest := len(l.ContainerdSocket() + ".ttrpc"); longest > 107 {
		return fmt.Errorf("the state directory's name %q is %d bytes too long for Unix sockets", filepath.Dir(l.Dir), longest-107)
	}
	return nil
}

func (l Layout) path(parts ...string) string {
	return filepath.Join(append([]string{l.Dir}, parts...)...)
}

// Lock is outside Dir, since it outlives it.
func (l Layout) Lock() string { return l.Dir + ".lock" }

// Kubeconfig is the administrator's.
func (l Layout) Kubeconfig() string { return l.path("kubeconfig") }

// ContainerdSocket is where containerd serves its own API and CRI.
func (l Layout) ContainerdSocket() string { return l.path("containerd.sock") }

// Log is the log file of a component, or of the supervisor.
func (l Layout) Log(component string) string { return l.path("logs", component+".log") }

func (l Layout) pki(name string) string    { return l.path("pki", name) }
func (l Layout) config(name string) string { return l.path("config", name) }
func (l Layout) volumes() string           { return l.path("volumes") }
func (l Layout) options() string           { return l.path("options.json") }
func (l Layout) report() string            { return l.path("report.json") }

// cgroup is the name of the control group that holds everything the cluster
// runs in containers; it differs between state directories.
func (l Layout) cgroup() string {
	sum := sha256.Sum256([]byte(l.Dir))
	return "elastichub-" + hex.EncodeToString(sum[:4])
}
