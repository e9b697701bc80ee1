package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/elastichub/elastichub/localcluster/internal/host"
)

// Component is one program of the cluster.
type Component struct {
	Name string
	// Args is the whole command line.
	Args []string
	// Namespace is the file of the network namespace that it runs in; the machine's own
	// if empty.
	Namespace string
	// Probe says whether the component answers and is well.
	Probe func(context.Context) error
}

// stages are the components in the order of their start; those of one stage
// start together, once the stage before is well.
func (l Layout) stages(options Options) [][]Component {
	bin := func(name string) string { return filepath.Join(options.Bin, name) }
	loopback := "127.0.0.1"
	busy := []string{"--kube-api-qps=100", "--kube-api-burst=200"}

	etcd := Component{
		Name: "etcd",
		Args: []string{
			bin("etcd"),
			"--data-dir=" + l.path("etcd"),
			fmt.Sprintf("--listen-client-urls=http://%s:%d", loopback, etcdPort),
			fmt.Sprintf("--advertise-client-urls=http://%s:%d", loopback, etcdPort),
			// No peers: any free port of the loopback interface will do.
			fmt.Sprintf("--listen-peer-urls=http://%s:0", loopback),
			"--unsafe-no-fsync", // a throw-away cluster may lose data when the machine dies
			"--log-level=warn",
		},
		Probe: httpProbe(fmt.Sprintf("http://%s:%d/health", loopback, etcdPort)),
	}
	apiserver := Component{
		Name: "kube-apiserver",
		Args: []string{
			bin("kube-apiserver"),
			"--advertise-address=" + options.NodeIP,
			fmt.Sprintf("--secure-port=%d", apiPort),
			fmt.Sprintf("--etcd-servers=http://%s:%d", loopback, etcdPort),
			"--allow-privileged=true",
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction",
			"--client-ca-file=" + l.pki("ca.crt"),
			"--tls-cert-file=" + l.pki("apiserver.crt"),
			"--tls-private-key-file=" + l.pki("apiserver.key"),
			"--kubelet-certificate-authority=" + l.pki("ca.crt"),
			"--kubelet-client-certificate=" + l.pki("apiserver-kubelet-client.crt"),
			"--kubelet-client-key=" + l.pki("apiserver-kubelet-client.key"),
			// Without it exec and logs look the node's name up in DNS.
			"--kubelet-preferred-address-types=InternalIP",
			"--service-account-issuer=https://kubernetes.default.svc." + clusterDomain,
			"--service-account-key-file=" + l.pki("service-account.pub"),
			"--service-account-signing-key-file=" + l.pki("service-account.key"),
			"--service-cluster-ip-range=" + joined(options.Family.serviceCIDRs()),
			"--endpoint-reconciler-type=master-count",
			deviceGates,
		},
		Probe: l.probeAPIServer,
	}
	if options.Family.has6() {
		apiserver.Args = append(apiserver.Args, "--bind-address=::") // that is both families
	}
	controllers := Component{
		Name: "kube-controller-manager",
		Args: append([]string{
			bin("kube-controller-manager"),
			"--bind-address=" + loopback,
			"--kubeconfig=" + l.config("controller-manager.kubeconfig"),
			"--leader-elect=false",
			"--use-service-account-credentials=true",
			"--root-ca-file=" + l.pki("ca.crt"),
			"--cluster-signing-cert-file=" + l.pki("ca.crt"),
			"--cluster-signing-key-file=" + l.pki("ca.key"),
			"--service-account-private-key-file=" + l.pki("service-account.key"),
			"--flex-volume-plugin-dir=" + l.path("kubelet", "volume-plugins"),
		}, busy...),
		Probe: httpProbe(fmt.Sprintf("https://%s:%d/healthz", loopback, controllerHealthPort)),
	}
	scheduler := Component{
		Name: "kube-scheduler",
		Args: append([]string{
			bin("kube-scheduler"),
			"--bind-address=" + loopback,
			"--kubeconfig=" + l.config("scheduler.kubeconfig"),
			"--leader-elect=false",
			deviceGates,
		}, busy...),
		Probe: httpProbe(fmt.Sprintf("https://%s:%d/healthz", loopback, schedulerHealthPort)),
	}
	containerd, kubelet, proxy := l.onNode(options, l.firstNode(options))
	return [][]Component{
		{containerd, etcd},
		{apiserver},
		{controllers, scheduler, kubelet, proxy},
	}
}

// onNode are the components of one node.
func (l Layout) onNode(options Options, at node) (containerd, kubelet, proxy Component) {
	bin := func(name string) string { return filepath.Join(options.Bin, name) }
	containerd = Component{
		Name:  "containerd",
		Args:  []string{"/usr/bin/containerd", "--config=" + l.config("containerd.toml")},
		Probe: l.probeCRI,
	}
	kubelet = Component{
		Name: "kubelet",
		Args: []string{
			bin("kubelet"),
			"--config=" + l.config("kubelet.yaml"),
			"--kubeconfig=" + l.config("kubelet.kubeconfig"),
			"--hostname-override=" + at.name,
			"--node-ip=" + joined(at.ips),
			"--node-labels=elastichub.io/localcluster=true",
			"--root-dir=" + l.path("kubelet"),
			"--cert-dir=" + l.pki(""),
		},
		Probe: httpProbe(fmt.Sprintf("http://%s:%d/healthz", at.health, kubeletHealthPort)),
	}
	proxy = Component{
		Name: "kube-proxy",
		Args: []string{
			bin("kube-proxy"),
			"--kubeconfig=" + l.config("kube-proxy.kubeconfig"),
			"--hostname-override=" + at.name,
			"--proxy-mode=iptables",
			"--cluster-cidr=" + joined(at.podCIDRs),
			fmt.Sprintf("--metrics-bind-address=%s:%d", at.health, proxyMetricsPort),
			fmt.Sprintf("--healthz-bind-address=%s:%d", at.health, proxyHealthPort),
			// Leave the machine's connection tracking alone.
			"--conntrack-max-per-core=0",
			"--conntrack-min=0",
			"--conntrack-tcp-timeout-established=0",
			"--conntrack-tcp-timeout-close-wait=0",
			// Changes show within a tenth of a second instead of one.
			"--iptables-min-sync-period=100ms",
		},
		Probe: httpProbe(fmt.Sprintf("http://%s:%d/healthz", at.health, proxyHealthPort)),
	}
	return containerd, kubelet, proxy
}

// Components are all components, in the order of their start.
func (l Layout) components(options Options, nodes int) []Component {
	var all []Component
	for _, stage := range l.stages(options) {
		all = append(all, stage...)
	}
	if nodes > 1 {
		for _, stage := range l.secondStages(options) {
			all = append(all, stage...)
		}
	}
	return all
}

// httpProbe asks a health endpoint on the at.health interface. Those of the
// controllers have self-signed certificates, and nothing secret is sent.
func httpProbe(url string) func(context.Context) error {
	client := &http.Client{
		Timeout: 3 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			DisableKeepAlives: true,
			DialContext:       (&net.Dialer{Timeout: time.Second}).DialContext,
		},
	}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s: %s", url, response.Status, strings.TrimSpace(string(body)))
		}
		return nil
	}
}

func (l Layout) probeAPIServer(ctx context.Context) error {
	client, err := l.Client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, err = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	return err
}

// logTail is the end of a component's log.
func (l Layout) logTail(component string, lines int) string {
	file, err := os.Open(l.Log(component))
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	const most = 64 << 10
	if info, err := file.Stat(); err == nil && info.Size() > most {
		if _, err := file.Seek(-most, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return err.Error()
	}
	return host.LastLines(string(data), lines)
}
