package docs

import "fmt"

// Use is what becomes of a block.
type Use string

const (
	// Typed is run as it stands, by a shell, in an empty namespace.
	Typed Use = "typed"
	// Served is run so, and ends with the test.
	Served Use = "served"
	// Values are the elastichub chart's, rendered by Helm against its schema.
	Values Use = "values"
	// Objects are decoded strictly as the kinds they name.
	Objects Use = "objects"
	// HubConfig and ServerConfig are Python of a JupyterHub and of a jupyter_server,
	// whose options python/tests/test_pages.py looks up.
	HubConfig    Use = "Hub configuration"
	ServerConfig Use = "server configuration"
	// Elsewhere is typed by another target of make test.
	Elsewhere Use = "elsewhere"
	// Shown is nothing to type.
	Shown Use = "shown"
)

// use of one block. Those of Values, Objects and HubConfig whose first line
// names a file are written to it for the commands that follow.
type use struct {
	page, first string
	use         Use
	// why a block is not run, or by which target it is.
	why string
}

// First lines of the blocks of docs/console.md about the life of a notebook.
const (
	notebooksMade = "kubectl -n jupyterhub create serviceaccount notebooks"
	notebooksKept = `visit() { curl --silent --show-error --fail-with-body --retry 9 --retry-connrefused -H "Authorization: token $KEY" http://127.0.0.1:8888/api/contents/diary.txt "$@"; echo; }`
)

// uses lists every block of every page, in the order in which they are typed.
// A block that is not listed fails the tests.
var uses = []use{
	{"README.md", "make run     # a real single-node Kubernetes, a Hub, a directory; prints a URL and three accounts", Elsewhere, "make run, make test"},
	{"README.md", "browser ─▶ JupyterHub ──▶ elastichub serve ──▶ JupyterNotebook ──▶ notebook Pod (CPU only)", Shown, "a drawing"},
	{"README.md", "make dist/elastichub", Typed, ""},
	{"README.md", "# values.yaml", Values, ""},
	{"README.md", "kubectl create namespace jupyterhub      # where your Hub has none yet", Typed, ""},
	{notes, "kubectl -n {{ .Release.Namespace }} get grouppolicies,jupyterkernelspecs,jupytergateways", Typed, ""},
	{notes, "kubectl -n {{ .Release.Namespace }} get jupyternotebooks,jupytergateways,jupyterkernelspecs,jupyterkernels", Typed, ""},
	{"README.md", "# lending.yaml", Objects, ""},
	{"README.md", "kubectl -n jupyterhub apply -f lending.yaml", Typed, ""},
	{"README.md", "hub:", HubConfig, ""},
	{"README.md", "pip install jupyterhub ./python", Typed, ""},
	{notes, "kubectl -n {{ .Release.Namespace }} get secret {{ include \"elastichub.hubSecret\" . }} -o go-template='{{ \"{{ .data.token | base64decode }}\" }}' > /etc/elastichub/token", Typed, ""},
	{notes, `c.JupyterHub.spawner_class = "elastichub"`, HubConfig, ""},
	{"README.md", "# jupyterhub_config.py, with your authenticator", HubConfig, ""},
	{"README.md", "jupyterhub --config jupyterhub_config.py", Served, ""},
	{"README.md", "# team.yaml", Objects, ""},
	{"README.md", "# An operator alone.", Elsewhere, "make operator-test types it"},

	{"docs/policies.md", "kubectl -n jupyterhub apply -f examples/policies/three-groups.yaml", Typed, ""},

	{"docs/health.md", "NAME        USER    PHASE   REASON        IDLE   STOP AT                CAUSE   AGE", Shown, "what kubectl says"},
	{"docs/health.md", "NAME       USER    KERNEL       PHASE    CAUSE   QUEUE   IDLE   PARK AT                AGE", Shown, "what kubectl says"},
	{"docs/health.md", "apiVersion: v1", Shown, "Argo CD's; the tests of health run its script"},
	{"docs/hub.md", "c.JupyterHub.load_roles = [", HubConfig, ""},

	{"docs/policies.md", "apiVersion: v1", Objects, ""},
	{"docs/policies.md", "make dist/elastichub", Typed, ""},
	{"docs/rotation.md", "make dist/elastichub", Typed, ""},
	{"docs/rotation.md", "dist/elastichub rotate hub-token -n jupyterhub --cut-off", Typed, ""},
	{"docs/rotation.md", "dist/elastichub rotate gateway-key default -n jupyterhub --cut-off --dry-run", Elsewhere, "TestSecretsAreRotatedWhilePeopleWork: the namespace of the pages has no gateway then"},
	{"docs/moving-in.md", "make dist/elastichub", Typed, ""},
	{"docs/moving-in.md", "kubectl -n jupyterhub get pods -l component=singleuser-server,heritage=jupyterhub", Typed, ""},
	{"docs/moving-in.md", `kubectl -n jupyterhub create secret generic gateway-client --from-literal=token="$(openssl rand -hex 32)"`, Typed, ""},
	{"docs/moving-in.md", "# clients.yaml", Objects, ""},
	{"docs/moving-in.md", "kubectl get jupyternotebooks,jupytergateways,jupyterkernelspecs,jupyterkerneltemplates,jupyterkernels -A -o yaml > objects-of-the-operator.yaml", Shown, "is for the whole cluster; the chart's Job has the same crds apply"},
	{"docs/signing-in.md", "# with-a-token.yaml", Objects, ""},
	{"docs/homes.md", "kubectl -n jupyterhub annotate persistentvolumeclaim claim-alice elastichub.io/adopt=alice", Typed, ""},

	{"docs/homes.md", "notebooks:", Values, ""},
	{"docs/homes.md", "# archive.yaml, beside your values", Values, ""},
	{"docs/homes.md", "kubectl -n jupyterhub get jobs -l app.kubernetes.io/component=home-archive", Typed, ""},
	{"docs/homes.md", "elastichub homes -n jupyterhub", Elsewhere, "test/faults lists the demo's homes by both"},
	{"docs/groups.md", "groups:", Values, ""},
	{"docs/groups.md", `user      "alice"`, Shown, "what policy explain prints"},
	{"docs/groups.md", "c.Authenticator.enable_auth_state = True      # and JUPYTERHUB_CRYPT_KEY", HubConfig, ""},
	{"docs/groups.md", "c.ElasticSpawner.send_groups = True", HubConfig, ""},
	{"docs/groups.md", `c.JupyterHub.services = [{"name": "elastichub-groups", "api_token": "…"}]`, HubConfig, ""},
	{"docs/form.md", `c.ElasticSpawner.language = "ru"`, HubConfig, ""},
	{"docs/metrics.md", "# monitoring.yaml, beside your values", Values, ""},
	{"docs/metrics.md", "# notebooks.yaml, beside your values", Values, ""},
	{"docs/metrics.md", "# signals.yaml, beside your values", Values, ""},
	{"docs/metrics.md", "# busy.yaml, beside your values", Values, ""},
	{"docs/console.md", "hub:", Values, ""},
	{"docs/console.md", "c.JupyterHub.services = [", HubConfig, ""},
	{"docs/console.md", "# console-openid.yaml", Values, ""},
	{"docs/console.md", `curl -H "Authorization: token $JUPYTERHUB_API_TOKEN" https://hub.example.org/services/elastichub/api/v1/me/kernels`, Shown, "needs a Hub and somebody who has signed in there; portal's tests make the same request"},
	{"docs/console.md", "kubectl -n jupyterhub create serviceaccount reporter", Shown, "portal's tests make such an account, its rights and tokens in a real API server, and the same requests"},
	{"docs/console.md", notebooksMade, Elsewhere, "test/faults types it, beside the demo"},
	{"docs/console.md", notebooksKept, Elsewhere, "test/faults types it, after the block before"},
	{"docs/console.md", "# api-only.yaml", Values, ""},
	{"docs/clusters.md", "elastichub doctor -n jupyterhub -f values.yaml", Elsewhere, "go test ./doctor/gather looks at a good installation and at broken ones"},
	{"docs/clusters.md", "storage-class: there is no default storage class, and homes of ml-research name none: their claims stay Pending and servers do not start. Fix: annotate a StorageClass with storageclass.kubernetes.io/is-default-class: \"true\", or set storage.home.storageClassName", Shown, "what doctor prints"},
	{"docs/clusters.md", "apiVersion: resource.k8s.io/v1", Shown, "the class of somebody's driver; make e2e lends devices of one (test/faults)"},
	{"docs/clusters.md", "# proxy.yaml", Values, ""},
	{"docs/clusters.md", "make run KUBECONFIG=$HOME/.kube/config REGISTRY=registry.example.org/elastichub", Elsewhere, "make existing-test types them, with other names"},
	{"docs/policies.md", "apiVersion: kubeflow.tkestack.io/v1alpha1", Objects, ""},
	{"docs/policies.md", "# geo.yaml", Objects, ""},
	{"docs/kernels.md", "kind: JupyterGateway", Objects, ""},
	{"docs/kernels.md", "kernels:", Values, ""},
	{"docs/environments.md", "uv venv ~/envs/price", Shown, "fetches packages; make e2e makes one with those of the image"},
	{"docs/environments.md", "uv venv --managed-python --python 3.12 ~/envs/price", Shown, "fetches a Python"},
	{"docs/environments.md", "FROM docker.io/mambaorg/micromamba@sha256:… AS micromamba", Shown, "an image of somebody's own, with a digest to fill in"},
	{"docs/notebook-image.md", "COPY python /tmp/elastichub", Shown, "lines of a Dockerfile, which make images builds as a part of images/notebook/Dockerfile"},
	{"docs/notebook-image.md", "# jupyter_server_config.py", ServerConfig, ""},
	{"docs/notebook-image.md", "c.DocumentKeeper.max_cell_bytes = 32 << 20  # of each cell", ServerConfig, ""},
	{"docs/notebook-image.md", "jupyter execute --kernel_name=python-gpu analysis.ipynb", Elsewhere, "make e2e types it in a notebook server, with python-cpu"},
	{"docs/backup.md", "(umask 077; openssl rand -hex 32 > passphrase.txt)", Elsewhere, "test/faults types it, beside the demo"},
	{"docs/backup.md", "elastichub restore jupyterhub.tar.gz --passphrase-file passphrase.txt --dry-run", Elsewhere, "test/faults types it, after the block before"},
	{"docs/removal.md", "elastichub uninstall -n jupyterhub --dry-run", Elsewhere, "go test ./kernels removes a release from a real API server; test/faults says what would go of the demo"},
	{"docs/removal.md", "helm uninstall elastichub -n jupyterhub", Elsewhere, "test/faults types it, in the demo's namespace"},
	{"docs/removal.md", "elastichub backup -n jupyterhub -o jupyterhub.tar.gz", Shown, "removes what cannot be brought back; go test ./kernels does it"},
	{"docs/removal.md", "kubectl -n jupyterhub delete persistentvolumeclaim -l app.kubernetes.io/managed-by=elastichub", Shown, "removes homes for good, and the kinds of the cluster"},
	{"docs/air-gap.md", "VERSION=0.1.0", Elsewhere, "release/release_test.sh types it, and make airgap-test"},
	{"docs/air-gap.md", "kubectl create namespace jupyterhub", Elsewhere, "make airgap-test types it"},
	{"docs/air-gap.md", "helm install demo elastichub-demo-$VERSION.tgz -n jupyterhub -f mirror.yaml", Elsewhere, "make airgap-test types it"},
	{"docs/upgrade.md", "make dist/elastichub", Elsewhere, "make upgrade-test types it, with other names"},
	{"docs/upgrade.md", "dist/elastichub upgrade -n jupyterhub", Elsewhere, "make upgrade-test types it, after the block before"},
	{"docs/upgrade.md", "helm rollback elastichub -n jupyterhub", Elsewhere, "make upgrade-test types it, after the block before"},
	{"docs/kubectl.md", "make dist/elastichub", Elsewhere, "the names of the binary are those of cmd/elastichub's tests"},
	{"docs/kubectl.md", "kubectl elastichub top                      # by user; top policies, top nodes", Elsewhere, "the tests of plugin and cmd/elastichub run the commands"},
	{"docs/run.md", "export JUPYTERHUB_API_TOKEN=…     # of the Hub's token page", Elsewhere, "test/faults does it on the demo's Hub"},
	{"docs/run.md", "elastichub run --server https://hub.example.org --detach train.ipynb", Elsewhere, "test/faults does it on the demo's Hub"},
	{"docs/tracing.md", `start=$(kubectl -n jupyterhub get jupyternotebooks -o jsonpath='{.items[0].metadata.annotations.elastichub\.io/request}')`, Typed, ""},
	{"docs/tracing.md", "# tracing.yaml, beside your values", Values, ""},
	{"docs/support.md", "make dist/elastichub", Typed, ""},
	{"docs/support.md", "! tar -xzOf support.tar.gz | grep --ignore-case --word-regexp alice", Typed, ""},
	{"docs/support.md", "kubectl -n jupyterhub exec deploy/elastichub -- /elastichub log-level debug", Typed, ""},
	{"docs/operations.md", "elastichub doctor -n jupyterhub", Elsewhere, "go test ./doctor/gather looks at a good installation and at broken ones"},
	{"docs/operations.md", "kubectl -n jupyterhub get pods,jupytergateways", Typed, ""},
	{"docs/operations.md", "kubectl -n jupyterhub exec deploy/elastichub -- /elastichub log-level debug", Typed, ""},
	{"docs/operations.md", "dist/elastichub support -n jupyterhub", Typed, ""},
	{"docs/architecture.md", "            ┌───────────── JupyterHub ─────────────┐", Shown, "a drawing"},
	{"docs/benchmarks.md", "make bench                          # all; the last parts need the demo: make run", Shown, "takes an hour, and measures what runs beside it"},

	{"python/README.md", "# jupyterhub_config.py", HubConfig, ""},
	{"python/README.md", "# jupyter_server_config.py", ServerConfig, ""},
	{"python/README.md", "python/test.sh                      # JupyterHub 5", Elsewhere, "make python"},

	{"localcluster/README.md", "$ cd localcluster && go build -o ~/.cache/elastichub/bin/localcluster ./cmd/localcluster", Elsewhere, "make cluster, with which make run begins"},
	{"localcluster/README.md", "$ go test ./...                     # the pure parts; golden files: go test ./internal/cluster -update", Elsewhere, "make unit; the smoke test is for who changes localcluster, and takes the GPUs that others wait for"},
}

// UseOf tells what becomes of a block.
func UseOf(b Block) (Use, error) {
	for _, u := range uses {
		if u.page == b.Page && u.first == b.First() {
			return u.use, nil
		}
	}
	return "", fmt.Errorf("%s: nobody says what becomes of the block that begins with %q: give it a row in test/docs/uses.go", b, b.First())
}
