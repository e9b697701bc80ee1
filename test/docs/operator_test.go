//go:build e2e

package docs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// predecessors are manifests as elastic-jupyter-operator's examples have them, word for word.
const predecessors = `
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: JupyterKernelTemplate
metadata: {name: jupyterkerneltemplate-elastic}
spec:
  template:
    metadata: {app: enterprise-gateway, component: kernel}
    spec: {restartPolicy: Always, containers: [{name: kernel}]}
---
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: JupyterKernelSpec
metadata: {name: python-kubernetes}
spec:
  language: Python
  displayName: "Python on Kubernetes as a JupyterKernelSpec"
  image: ghcr.io/skai-x/kernel-py:2.6.0
  className: enterprise_gateway.services.processproxies.kubeflow.KubeflowProcessProxy
  template: {name: jupyterkerneltemplate-elastic}
  command: [kubeflow-launcher, --verbose, "--RemoteProcessProxy.kernel-id", "{kernel_id}"]
---
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: JupyterGateway
metadata: {name: jupytergateway-elastic}
spec: {cullIdleTimeout: 10, cullInterval: 10, logLevel: DEBUG, image: "ghcr.io/skai-x/enterprise-gateway:2.6.0", kernels: [python-kubernetes]}
---
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: JupyterNotebook
metadata: {name: jupyternotebook-elastic}
spec: {gateway: {name: jupytergateway-elastic}, auth: {mode: disable}}
`

// TestWithoutJupyterHub types what README says of an operator alone, in an empty namespace;
// then the release looks after a team's, too, where the predecessor's manifests are, and a
// notebook that the gateway of the first namespace serves once it says so.
func TestWithoutJupyterHub(t *testing.T) {
	w := newWalk(t)
	w.step("a copy of the checkout", w.Prepare)
	// The demo's images, which are on the node.
	out, err := w.Type(t.Context(), `kubectl -n elastichub get configmap elastichub -o jsonpath='{.data.config\.yaml}'`)
	require.NoError(t, err, out)
	var demo struct {
		Notebooks struct{ Image string }
		Kernels   struct{ Image, ServiceImage string }
	}
	require.NoError(t, yaml.Unmarshal([]byte(out), &demo))
	manifests := blockOf(t, use{page: "README.md", first: "# team.yaml"})
	require.NoError(t, os.WriteFile(filepath.Join(w.Dir, "team.yaml"), []byte(manifests.Text), 0o600))
	service, tag, _ := strings.Cut(demo.Kernels.ServiceImage, ":")
	typed := strings.NewReplacer("-n notebooks", "-n "+w.Namespace,
		"image.registry=registry.example.org/elastichub,image.tag=1.0",
		fmt.Sprintf("image.name=%s,image.tag=%s,notebooks.image=%s,kernels.image=%s", service, tag, demo.Notebooks.Image, demo.Kernels.Image),
	).Replace(blockOf(t, use{page: "README.md", first: "# An operator alone."}).Text)
	w.step("README, without JupyterHub", func(ctx context.Context) error {
		out, err := w.Type(ctx, typed)
		t.Log(out)
		return err
	})
	w.execute(w.Namespace, "ana", "python_kubernetes")

	team := w.Namespace + "-team"
	t.Cleanup(func() { _, _ = w.Type(context.Background(), "kubectl delete namespace "+team+" --wait=false") })
	require.NoError(t, os.WriteFile(filepath.Join(w.Dir, "predecessors.yaml"), []byte(predecessors), 0o600))
	w.step("the release looks after a team's namespace, where the predecessor's manifests are", func(ctx context.Context) error {
		out, err := w.Type(ctx, fmt.Sprintf(`kubectl create namespace %[2]s
kubectl -n %[2]s apply -f predecessors.yaml
helm upgrade elastichub charts/elastichub -n %[1]s --reuse-values --set 'watchNamespaces={%[2]s}' --wait
kubectl -n %[2]s wait --for=jsonpath='{.status.phase}'=Ready jupyternotebook/jupyternotebook-elastic --timeout=2m
kubectl -n %[2]s wait --for=condition=ImageReplaced jupyterkernelspec/python-kubernetes --timeout=30s`, w.Namespace, team))
		t.Log(out)
		return err
	})
	w.execute(team, "jupyternotebook-elastic", "python-kubernetes")
	w.step("a gateway serves another namespace when it says so, and not before", func(ctx context.Context) error {
		out, err := w.Type(ctx, fmt.Sprintf(`kubectl -n %[2]s apply -f - <<'END'
{"apiVersion": "kubeflow.tkestack.io/v1alpha1", "kind": "JupyterNotebook", "metadata": {"name": "guest"},
 "spec": {"gateway": {"name": "team", "namespace": "%[1]s"}, "auth": {"mode": "disable"}}}
END
kubectl -n %[2]s wait --for=jsonpath='{.status.reason}'=GatewayRefused jupyternotebook/guest --timeout=30s
kubectl -n %[1]s patch jupytergateway team --type merge -p '{"spec": {"allowedNamespaces": ["%[2]s"]}}'
kubectl -n %[2]s wait --for=jsonpath='{.status.phase}'=Ready jupyternotebook/guest --timeout=1m
kubectl -n %[1]s rollout status deployment/team --timeout=1m`, w.Namespace, team))
		t.Log(out)
		return err
	})
	w.execute(team, "guest", "python_kubernetes")
}

// execute runs a notebook with one cell in a server's Pod, on a remote kernel, once the server
// knows what its gateway offers, which may be ready after it.
func (w *walk) execute(namespace, notebook, kernel string) {
	w.t.Helper()
	const document = `{"cells": [{"cell_type": "code", "execution_count": null, "id": "a", "metadata": {}, "outputs": [], "source": "print(6*7)"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}`
	w.step("a cell of "+notebook, func(ctx context.Context) error {
		out, err := w.Type(ctx, fmt.Sprintf(`kubectl -n %[1]s exec -i deploy/%[2]s -- sh -c '
cat >/tmp/a.ipynb
seconds=0
until [ -e /tmp/elastichub/kernels/%[3]s ] || [ $((seconds += 1)) -gt 40 ]; do sleep 1; done
jupyter execute --inplace --kernel_name=%[3]s /tmp/a.ipynb && cat /tmp/a.ipynb' <<<'%[4]s'`, namespace, notebook, kernel, document))
		if err == nil && !strings.Contains(out, "42") {
			err = fmt.Errorf("the cell put out %s", out)
		}
		return err
	})
}
