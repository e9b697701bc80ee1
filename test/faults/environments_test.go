//go:build e2e

package faults

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/client"
)

// startIn starts a kernel by its name at a notebook server, and connects a page to it.
func (s *server) startIn(name string) *client.Kernel {
	s.t.Helper()
	var made struct{ ID, Name string }
	status, err := s.Call(s.t.Context(), "POST", "/api/kernels", map[string]string{"name": name}, &made)
	require.NoError(s.t, err)
	require.Equal(s.t, 201, status)
	require.Equal(s.t, name, made.Name)
	k := &client.Kernel{Gateway: s.Gateway, ID: made.ID, Session: uuid.NewString(), Subprotocol: wire.SubprotocolV1, Patience: 90 * time.Second}
	require.NoError(s.t, k.Open(s.t.Context()))
	s.t.Cleanup(k.Close)
	return k
}

// TestAnEnvironmentOfTheUsersOwn: made in a terminal of the notebook, it is a kernel in a Pod
// by its name, with its packages, and parks with its variables. One that is broken says so, and
// nobody has one whose policy does not allow it.
func TestAnEnvironmentOfTheUsersOwn(t *testing.T) {
	d := demo(t)
	s := d.withHome(t, "envy")
	sh := func(script string) string {
		return d.must(t, "exec", s.ready().Metadata.Name, "--", "sh", "-ec", script)
	}
	assert.Contains(t, sh("uv --version"), "uv ")
	// No package is fetched here: it has those of the image by a path, and ipykernel as its own.
	sh(`cd && python3 -m venv envs/price
site=$(envs/price/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
echo /opt/venv/lib/python3.11/site-packages > "$site/image.pth"
cp /opt/venv/lib/python3.11/site-packages/ipykernel_launcher.py "$site/"
echo 'PRICE = 42' > "$site/pricemodel.py"
mkdir -p envs/moved/bin && ln -s /usr/bin/python3.99 envs/moved/bin/python
printf 'home = /usr/bin\nversion = 3.99.1\n' > envs/moved/pyvenv.cfg`)
	var specs struct {
		Kernelspecs map[string]struct {
			Spec struct {
				DisplayName string `json:"display_name"`
			}
		}
	}
	require.Eventually(t, func() bool {
		status, err := s.Call(t.Context(), "GET", "/api/kernelspecs", nil, &specs)
		return err == nil && status == 200 && specs.Kernelspecs["python-cpu.env.envs.price"].Spec.DisplayName != ""
	}, time.Minute, time.Second)
	assert.Regexp(t, `^price · `, specs.Kernelspecs["python-cpu.env.envs.price"].Spec.DisplayName)

	k := s.startIn("python-cpu.env.envs.price")
	assert.Equal(t, "42 /home/jovyan/envs/price\n", run(t, k, "import sys, pricemodel; kept = [1]; print(pricemodel.PRICE, sys.prefix)"))
	assert.NotEqual(t, s.ready().Metadata.Name, run(t, k, "import socket; print(socket.gethostname(), end='')"))
	ended := d.over(t, k.ID, 1)
	assert.Equal(t, "Parked", ended.Phase, ended.Message)
	assert.NotEqual(t, "none", ended.Kept.Outcome)
	k.Close()
	require.NoError(t, k.Open(t.Context()))
	assert.Equal(t, "[1] /home/jovyan/envs/price\n", run(t, k, "print(kept, sys.prefix)"))

	broken := s.startIn("python-cpu.env.envs.moved")
	cell, err := broken.Run("1")
	require.NoError(t, err)
	assert.Equal(t, "error", cell.Status)
	assert.Contains(t, d.kernelStatus(t, broken.ID).Message, "The environment ~/envs/moved was made with Python 3.99 at /usr/bin/python3.99, which the kernel's image ")

	before := d.must(t, "get", "grouppolicy", "analysts", "-o", "jsonpath={.spec.kernels.ownEnvironments}")
	t.Cleanup(func() {
		d.must(t, "patch", "grouppolicy", "analysts", "--type=merge", "-p", `{"spec":{"kernels":{"ownEnvironments":`+before+`}}}`)
	})
	d.must(t, "patch", "grouppolicy", "analysts", "--type=merge", "-p", `{"spec":{"kernels":{"ownEnvironments":false}}}`)
	require.Eventually(t, func() bool {
		code, err := s.Call(t.Context(), "POST", "/api/kernels", map[string]string{"name": "python-cpu.env.envs.price"}, nil)
		return err == nil && code == 403
	}, time.Minute, time.Second)
}
