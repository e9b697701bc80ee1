package cluster

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed *.tmpl
var templates embed.FS

// configFiles maps a file below config/ to the template it is rendered from.
var configFiles = map[string]string{
	"containerd.toml":        "containerd.toml.tmpl",
	"cni/10-bridge.conflist": "cni.conflist.tmpl",
	"kubelet.yaml":           "kubelet.yaml.tmpl",
}

// settings are what the templates may use.
type settings struct {
	Dir, Socket, Cgroup      string
	NodeIP, ResolvConf       string
	Health, Reserved         string
	Bridge                   string
	PodCIDRs, DefaultRoutes  []string
	DNSService               string
	ClusterDomain            string
	PauseImage, CoreDNSImage string
	Provisioner              string
}

func (l Layout) settings(at node, resolvConf string) settings {
	return settings{
		Dir: l.Dir, Socket: l.ContainerdSocket(), Cgroup: l.cgroup(),
		NodeIP: at.ip, ResolvConf: resolvConf,
		Health: at.health, Reserved: at.reserved,
		Bridge: bridge, PodCIDRs: at.podCIDRs, DefaultRoutes: at.family.defaultRoutes(),
		DNSService: at.family.dnsService(), ClusterDomain: clusterDomain,
		PauseImage: pauseImage, CoreDNSImage: corednsImage,
		Provisioner: provisionerName,
	}
}

func render(name string, values settings) ([]byte, error) {
	parsed, err := template.New(name).Option("missingkey=error").ParseFS(templates, name)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, values); err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	return out.Bytes(), nil
}

func (l Layout) writeConfigs(at node) error {
	values := l.settings(at, resolvConf())
	for file, name := range configFiles {
		data, err := render(name, values)
		if err != nil {
			return err
		}
		target := l.config(file)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// resolvConf is the file with the machine's real name servers. Where
// systemd-resolved runs, /etc/resolv.conf names its stub at 127.0.0.53, which
// is not to be reached from a Pod.
func resolvConf() string {
	const resolved = "/run/systemd/resolve/resolv.conf"
	if _, err := os.Stat(resolved); err == nil {
		return resolved
	}
	return "/etc/resolv.conf"
}
