package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestConfigs(t *testing.T) {
	l := Layout{Dir: "/state/localcluster"}
	values := l.settings(l.firstNode(Options{NodeIP: "192.0.2.10"}), "/etc/resolv.conf")
	for _, name := range []string{"containerd.toml.tmpl", "cni.conflist.tmpl", "kubelet.yaml.tmpl", "addons.yaml.tmpl"} {
		got, err := render(name, values)
		require.NoError(t, err)
		golden := filepath.Join("testdata", strings.TrimSuffix(name, ".tmpl"))
		if *update {
			require.NoError(t, os.WriteFile(golden, got, 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		assert.Equal(t, string(want), string(got), name)
	}
	_, err := render("missing", values)
	require.Error(t, err)
}

// TestFamilies: what a cluster of IPv6 alone, or of both families, is told.
func TestFamilies(t *testing.T) {
	one, two := 1, 2
	l := Layout{Dir: "/state/localcluster"}
	for name, row := range map[string]struct {
		options              Options
		args                 []string
		cni, kubelet, addons string
	}{
		"ipv6": {Options{Bin: "/bin", NodeIP: "fd00::2", Family: IPv6},
			[]string{"--advertise-address=fd00::2", "--service-cluster-ip-range=fd00:10:96::/112", "--bind-address=::", "--node-ip=fd00::2", "--cluster-cidr=fd00:10:244::/64"},
			`"ranges": [[{"subnet": "fd00:10:244::/64"}]],`, `clusterDNS: ["fd00:10:96::a"]`, "clusterIP: fd00:10:96::a"},
		"dual": {Options{Bin: "/bin", NodeIP: "192.0.2.10", NodeIP6: "fd00::2", Family: Dual},
			[]string{"--advertise-address=192.0.2.10", "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112", "--bind-address=::", "--node-ip=192.0.2.10,fd00::2", "--cluster-cidr=10.244.0.0/24,fd00:10:244::/64"},
			`"routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],`, `clusterDNS: ["10.96.0.10"]`, "clusterIP: 10.96.0.10"},
	} {
		t.Run(name, func(t *testing.T) {
			args := argsOf(l.components(row.options, 1))
			for _, want := range row.args {
				assert.Contains(t, args, want)
			}
			values := l.settings(l.firstNode(row.options), "/etc/resolv.conf")
			for file, want := range map[string]string{"cni.conflist.tmpl": row.cni, "kubelet.yaml.tmpl": row.kubelet, "addons.yaml.tmpl": row.addons} {
				got, err := render(file, values)
				require.NoError(t, err)
				assert.Contains(t, string(got), want)
				if file == "cni.conflist.tmpl" {
					assert.True(t, json.Valid(got), "%s", got)
				}
			}
			assert.ErrorContains(t, row.options.fits(&two), "IPv4 alone")
			assert.NoError(t, row.options.fits(&one))
		})
	}
	assert.NotContains(t, argsOf(l.components(Options{NodeIP: "192.0.2.10"}, 1)), "--bind-address=::", "a cluster of a former release")
	assert.NoError(t, Options{}.fits(&two))
}

func TestStatesDoNotShare(t *testing.T) {
	a, b := Layout{Dir: "/a"}, Layout{Dir: "/b"}
	assert.NotEqual(t, a.cgroup(), b.cgroup())
	assert.Equal(t, a.cgroup(), Layout{Dir: "/a"}.cgroup())
	assert.False(t, strings.HasPrefix(a.Lock(), a.Dir+"/"), "the lock outlives the state")

	_, err := NewLayout("/" + strings.Repeat("long", 30))
	require.ErrorContains(t, err, "too long")
}

func TestPKI(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	for _, dir := range []string{"pki", "config"} {
		require.NoError(t, os.Mkdir(l.path(dir), 0o700))
	}
	require.NoError(t, l.writePKI("192.0.2.10", "fd00::2"))

	roots := x509.NewCertPool()
	ca, err := os.ReadFile(l.pki("ca.crt"))
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(ca))
	for _, id := range l.identities("192.0.2.10", "fd00::2") {
		data, err := os.ReadFile(l.pki(id.file + ".crt"))
		require.NoError(t, err)
		block, _ := pem.Decode(data)
		cert, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		usage := x509.ExtKeyUsageClientAuth
		if len(id.dns) > 0 {
			usage = x509.ExtKeyUsageServerAuth
		}
		for _, name := range append(append([]string{""}, id.dns...), id.ips...) {
			_, err = cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}})
			assert.NoError(t, err, "%s as %q", id.file, name)
		}
		assert.Equal(t, id.name, cert.Subject.CommonName)
		assert.Equal(t, id.groups, cert.Subject.Organization)
		key, err := os.Stat(l.pki(id.file + ".key"))
		require.NoError(t, err)
		assert.EqualValues(t, 0o600, key.Mode().Perm(), id.file)
		if id.kubeconfig != "" {
			config, err := clientcmd.BuildConfigFromFlags("", id.kubeconfig)
			require.NoError(t, err)
			assert.Equal(t, data, config.CertData)
		}
	}
}

func TestOptionsAndReportSurvive(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	report, err := l.ReadReport()
	require.NoError(t, err)
	assert.Equal(t, Report{}, report, "none yet")
	assert.False(t, report.Supervisor.Alive())

	options := Options{GPUs: 3, Bin: "/bin", NodeIP: "192.0.2.10", Sysctls: map[string]string{"a": "1"}}
	require.NoError(t, l.writeOptions(options))
	got, err := l.readOptions()
	require.NoError(t, err)
	assert.Equal(t, options, got)

	r := reporter{file: l.report()}
	require.NoError(t, r.update(func(r *Report) { r.Phase, r.Culprit = Failed, "etcd" }))
	report, err = l.ReadReport()
	require.NoError(t, err)
	assert.Equal(t, Report{Phase: Failed, Culprit: "etcd"}, report)
}

func TestRunnerStartsAgainAndStops(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	var starts []ComponentProcess
	began := make(chan ComponentProcess, 8)
	r := newRunner(Component{Name: "short", Args: []string{"/bin/sh", "-c", "echo once more; sleep 0.1"}}, log,
		func(p ComponentProcess) { began <- p })
	go r.run()
	for range 2 {
		select {
		case p := <-began:
			starts = append(starts, p)
		case <-time.After(5 * time.Second):
			t.Fatal("not started again")
		}
	}
	require.ErrorContains(t, <-r.died, "short ended")
	assert.Equal(t, []int{0, 1}, []int{starts[0].Restarts, starts[1].Restarts})
	assert.Eventually(t, func() bool {
		text, err := os.ReadFile(log)
		return err == nil && strings.HasPrefix(string(text), "once more\nonce more\n")
	}, 5*time.Second, 10*time.Millisecond, "one log for all runs")
	r.stop(time.Second)
	assert.False(t, starts[1].Process.Alive())
}

func TestDeathEndsTheWait(t *testing.T) {
	died := make(chan error, 1)
	died <- errors.New("gone")
	begin := time.Now()
	err := waitFor(t.Context(), "etcd", died, func(context.Context) error { return errors.New("no answer") })
	var failure *componentError
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, "etcd", failure.component)
	assert.ErrorContains(t, err, "gone")
	assert.Less(t, time.Since(begin), 5*time.Second)
}

func TestAdvertised(t *testing.T) {
	amount := func(n int64) corev1.ResourceList {
		return corev1.ResourceList{gpuResource: *resource.NewQuantity(n, resource.DecimalSI)}
	}
	assert.True(t, advertised(corev1.NodeStatus{Capacity: amount(2), Allocatable: amount(2)}, 2))
	assert.False(t, advertised(corev1.NodeStatus{Capacity: amount(2), Allocatable: amount(1)}, 2))
	assert.False(t, advertised(corev1.NodeStatus{}, 0), "none is advertised too")
}

func TestDirectories(t *testing.T) {
	root := t.TempDir()
	d := directories{root: root}
	reclaim := corev1.PersistentVolumeReclaimDelete
	options := controller.ProvisionOptions{
		PVName:       "pvc-1",
		PVC:          &corev1.PersistentVolumeClaim{},
		StorageClass: &storagev1.StorageClass{ReclaimPolicy: &reclaim},
	}
	volume, _, err := d.Provision(t.Context(), options)
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(root, "pvc-1"))
	require.NoError(t, err)
	assert.EqualValues(t, 0o777, info.Mode().Perm())

	elsewhere := t.TempDir()
	for _, path := range []string{elsewhere, root, root + "/..", root + "/pvc-1/../../x", root + "/other"} {
		foreign := volume.DeepCopy()
		foreign.Spec.Local.Path = path
		var ignored *controller.IgnoredError
		require.ErrorAs(t, d.Delete(t.Context(), foreign), &ignored, path)
	}
	assert.DirExists(t, elsewhere)
	require.NoError(t, d.Delete(t.Context(), volume))
	assert.NoDirExists(t, filepath.Join(root, "pvc-1"))

	options.PVC = &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{Selector: &metav1.LabelSelector{}}}
	_, _, err = d.Provision(t.Context(), options)
	require.Error(t, err)
}

func TestStaticImage(t *testing.T) {
	program := filepath.Join(t.TempDir(), "tool")
	require.NoError(t, os.WriteFile(program, []byte("binary"), 0o755))
	var archive bytes.Buffer
	require.NoError(t, writeStaticImage(&archive, "localhost/tool:1", program))

	parts := make(map[string][]byte)
	for reader := tar.NewReader(&archive); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		parts[header.Name], err = io.ReadAll(reader)
		require.NoError(t, err)
	}
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	require.NoError(t, json.Unmarshal(parts["manifest.json"], &manifest))
	assert.Equal(t, []string{"localhost/tool:1"}, manifest[0].RepoTags)
	var config struct {
		Config struct{ Entrypoint []string }
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	require.NoError(t, json.Unmarshal(parts[manifest[0].Config], &config))
	assert.Equal(t, []string{"/tool"}, config.Config.Entrypoint)
	sum := sha256.Sum256(parts[manifest[0].Layers[0]])
	assert.Equal(t, []string{"sha256:" + hex.EncodeToString(sum[:])}, config.RootFS.DiffIDs)
}

func TestFaultsNameTheComponent(t *testing.T) {
	status := Status{Components: []ComponentStatus{{Name: "etcd"}, {Name: "kubelet", Fault: fmt.Errorf("no answer")}}}
	assert.False(t, status.Healthy())
	assert.ErrorContains(t, status.Faults()[0], "kubelet: no answer")
	status.Components[1].Fault = nil
	assert.True(t, status.Healthy())
}
