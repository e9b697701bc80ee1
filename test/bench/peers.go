package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// peer is a Python server that the bench started.
type peer struct {
	*server
	process *process
}

// quick is the same peer for a client that acknowledges at once.
func (p *peer) quick() *peer {
	quick := *p.server
	quick.quickAck = true
	return &peer{server: &quick, process: p.process}
}

// Kernelspecs of the peers.
const (
	peerIPykernel = "bench-ipykernel"
	peerSynthetic = "bench-synthetic"
)

// kernelspecs writes the kernelspecs of the peers and returns their environment.
func (b *bench) kernelspecs(name string) ([]string, error) {
	dir := filepath.Join(b.dir, name)
	for spec, argv := range map[string][]string{peerIPykernel: b.ipykernel(), peerSynthetic: b.synthetic()} {
		raw, err := json.Marshal(map[string]any{"argv": argv, "display_name": spec, "language": "python"})
		if err != nil {
			return nil, err
		}
		path := filepath.Join(dir, "share", "kernels", spec)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(path, "kernel.json"), raw, 0o600); err != nil {
			return nil, err
		}
	}
	return []string{"HOME=" + dir, "JUPYTER_PATH=" + filepath.Join(dir, "share"), "JUPYTER_RUNTIME_DIR=" + filepath.Join(dir, "runtime"),
		"JUPYTER_CONFIG_DIR=" + filepath.Join(dir, "config"), "JUPYTER_DATA_DIR=" + filepath.Join(dir, "data")}, nil
}

// enterpriseGateway starts Enterprise Gateway. It runs kernels as local
// processes: the fastest that it can do. Everything else is as it comes.
func enterpriseGateway(ctx context.Context, b *bench) (*peer, error) {
	return b.peer(ctx, "enterprise-gateway", b.egPython, "-m", "enterprise_gateway",
		"--EnterpriseGatewayApp.ip=127.0.0.1", "--EnterpriseGatewayApp.port_retries=0", "--EnterpriseGatewayApp.port=")
}

// jupyterServer starts a jupyter_server that runs its kernels itself.
func jupyterServer(ctx context.Context, b *bench) (*peer, error) {
	return b.peer(ctx, "jupyter-server", b.python, "-m", "jupyter_server", "--ServerApp.ip=127.0.0.1", "--allow-root", "--no-browser",
		"--IdentityProvider.token=bench", "--ServerApp.port_retries=0", "--ServerApp.port=")
}

// peer starts a server; the port goes behind the last argument.
func (b *bench) peer(ctx context.Context, name string, argv ...string) (*peer, error) {
	env, err := b.kernelspecs(name)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	argv[len(argv)-1] += fmt.Sprint(ports[0])
	p := &peer{server: &server{name: name, url: fmt.Sprintf("http://127.0.0.1:%d", ports[0]), token: "bench"}}
	if p.process, err = b.start(name, env, argv...); err != nil {
		return nil, err
	}
	return p, p.process.until(60*time.Second, func() error { return get(ctx, p.url+"/api", nil) })
}

// versions of what is compared. The names are those of PyPI.
func (b *bench) versions() (map[string]string, error) {
	found := map[string]string{}
	for python, names := range map[string][]string{
		b.egPython: {"jupyter_enterprise_gateway", "jupyter_server", "jupyter_client", "pyzmq", "tornado"},
		b.python:   {"ipykernel", "jupyter_server", "jupyter_client", "pyzmq"},
	} {
		if python == "" { // nothing of it is measured
			continue
		}
		code := "import json, sys, platform, importlib.metadata as m; print(json.dumps({**{n: m.version(n) for n in sys.argv[1:]}, 'python': platform.python_version()}))"
		out, err := exec.Command(python, append([]string{"-c", code}, names...)...).Output()
		if err != nil {
			return nil, fmt.Errorf("versions: %w", err)
		}
		var versions map[string]string
		if err := json.Unmarshal(out, &versions); err != nil {
			return nil, err
		}
		where := "kernels"
		if python == b.egPython {
			where = "enterprise gateway"
		}
		for name, version := range versions {
			found[where+": "+name] = version
		}
	}
	return found, nil
}
