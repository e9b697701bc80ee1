package spawner

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules/podrulestest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func testConfig() Config {
	return Config{Namespace: "hub", DefaultImage: "registry.example/notebook:1", ImagePullPolicy: corev1.PullIfNotPresent, GatewayName: "default", APIAudiences: []string{"https://issuer.test"}}
}

func testRequest(user, server, start string) Request {
	class := "fast"
	return Request{
		Key: Key{User: user, Server: server}, Start: start,
		Env:      map[string]string{"JUPYTERHUB_API_TOKEN": "secret-of-" + start, "JUPYTERHUB_SERVICE_PREFIX": "/user/" + user + "/"},
		Command:  []string{"jupyterhub-singleuser"},
		Args:     []string{"--flag=$(HOME)"},
		Image:    "registry.example/lab:stable",
		CPULimit: resource.MustParse("3"), CPURequest: resource.MustParse("1"),
		MemoryLimit: resource.MustParse("2Gi"), MemoryRequest: resource.MustParse("2Gi"),
		NodeSelector: map[string]string{"pool": "notebooks"},
		Tolerations:  []corev1.Toleration{{Key: "notebooks", Operator: corev1.TolerationOpExists}},
		Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
			Weight:     10,
			Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "disk", Operator: corev1.NodeSelectorOpIn, Values: []string{"ssd"}}}},
		}}}},
		PriorityClassName: "interactive",
		ImagePullSecrets:  []v1alpha1.PullSecret{{Name: "registry"}},
		Storage: &v1alpha1.NotebookStorage{
			Home:   &v1alpha1.HomeVolume{Size: resource.MustParse("10Gi"), StorageClassName: &class},
			Shared: []v1alpha1.SharedVolume{{Name: "datasets", Claim: "datasets", MountPath: "/data", ReadOnly: true}},
		},
		KernelOptions:     v1alpha1.KernelOptions{Policies: []string{"ml"}, Groups: []string{"ml-research"}},
		ServerIdleSeconds: 1800,
		MaxRunSeconds:     86400,
		ImageChannel:      "stable",
		Options:           []byte(`{"cpu":"3","memory":"2Gi","image":"stable"}`),
	}
}

// requested is the object that Start writes for a request.
func requested(req Request) *v1alpha1.JupyterNotebook {
	name, home := Name(req.Key), ""
	if template, ok := templateOf(req); ok {
		home = explicit(claimOfName(template, req.User, name), name)
	}
	return &v1alpha1.JupyterNotebook{
		ObjectMeta: metav1.ObjectMeta{Namespace: "hub", Name: name, UID: "00000000-0000-0000-0000-000000000001", Generation: 7},
		Spec:       notebookSpec(testConfig(), req, name, home),
	}
}

// sample reads a manifest of elastic-jupyter-operator.
func sample(t *testing.T, file string) *v1alpha1.JupyterNotebook {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	require.NoError(t, err)
	nb := &v1alpha1.JupyterNotebook{}
	require.NoError(t, yaml.Unmarshal(data, nb))
	if nb.Namespace == "" {
		nb.Namespace = "hub"
	}
	nb.UID, nb.Generation = "00000000-0000-0000-0000-000000000002", 1
	return nb
}

func golden(t *testing.T, file string, objects ...any) {
	t.Helper()
	var got []byte
	for _, object := range objects {
		data, err := yaml.Marshal(object)
		require.NoError(t, err)
		got = append(append(got, "---\n"...), data...)
	}
	path := filepath.Join("testdata", file)
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got))
}

func TestObjectsOfHubServer(t *testing.T) {
	req := testRequest("Анна", "work", "s1")
	req.ServiceAccountName, req.ServiceAccountTokens = "bucket", []v1alpha1.ServiceAccountToken{{Audience: "sts.amazonaws.com", Path: "aws"}}
	nb := requested(req)
	token := tokenWith(envSecret(testConfig(), req, nb.Name))
	golden(t, "hub-server.golden.yaml", nb.Spec, claim(nb), service(nb), deployment(testConfig(), nb, "", token))
	assert.Equal(t, deployment(testConfig(), nb, "", token), deployment(testConfig(), nb, "", token), "deterministic")
	assert.Nil(t, authSecret(nb, credentials{}, ""), "the Hub's OAuth applies")
}

func TestHomeClaimOfEachUser(t *testing.T) {
	claims := map[string]string{}
	for _, user := range []string{"alice", "Alice", "al.ice", "a--b", "Анна", "anna", strings.Repeat("x", 40), strings.Repeat("x", 41), "alice---2bd806c97f0e00af"} {
		req := testRequest(user, "work", "s1")
		req.Storage.Home.Claim = "claim-{username}"
		nb := requested(req)
		assert.Equal(t, "claim-{username}", req.Storage.Home.Claim, "the policy's own is left alone")
		assert.Empty(t, validation.IsDNS1123Subdomain(nb.HomeClaim()), user)
		assert.LessOrEqual(t, len(nb.HomeClaim()), 63)
		assert.NotContains(t, claims, nb.HomeClaim(), user)
		claims[nb.HomeClaim()] = user
		other := req
		other.Server = ""
		assert.Equal(t, nb.HomeClaim(), requested(other).HomeClaim(), "all servers of a user share it")
	}
	assert.Equal(t, "alice", claims["claim-alice"])
}

func TestObjectsOfGatewayOnlySample(t *testing.T) {
	nb := sample(t, "ejo-gateway-only.yaml")
	require.Nil(t, refuse(nb))
	empty := ""
	golden(t, "ejo-gateway-only.golden.yaml", service(nb), gatewaySecret(nb, "signed"), authSecret(nb, credentials{token: &empty, password: &empty}, ""), deployment(testConfig(), nb, "17", tokenAlone(nb)))
}

// TestAuthSecretsWithoutHub keeps what a test of kernels/gateway configures servers with.
func TestAuthSecretsWithoutHub(t *testing.T) {
	nb := sample(t, "ejo-gateway-only.yaml")
	for name, found := range map[string]credentials{"disabled": {token: text(""), password: text("")}, "token": {token: text("right")}, "password": {password: text("geheim")}} {
		golden(t, "auth-"+name+".golden.yaml", authSecret(nb, found, "elastichub-own"))
	}
}

func TestObjectsOfTemplateSample(t *testing.T) {
	nb := sample(t, "ejo-template.yaml")
	require.Nil(t, refuse(nb))
	golden(t, "ejo-template.golden.yaml", service(nb), deployment(testConfig(), nb, "", tokenAlone(nb)))
}

func TestSelectorIgnoresKernelsAndTemplateLabels(t *testing.T) {
	nb := requested(testRequest("alice", "", "s1"))
	assert.Equal(t, map[string]string{"elastichub.io/notebook": "jupyter-alice", "app.kubernetes.io/component": "singleuser-server"}, selector(nb))
	nb.Spec.Template.Labels = map[string]string{"notebook": "simple", "elastichub.io/notebook": "jupyter-bob", "component": "mine"}
	labels := deployment(testConfig(), nb, "", tokenAlone(nb)).Spec.Template.Labels
	assert.Equal(t, "simple", labels["notebook"])
	assert.Equal(t, "jupyter-alice", labels["elastichub.io/notebook"])
	assert.Equal(t, "singleuser-server", labels["component"])
}

func TestTemplateMayOverrideVariables(t *testing.T) {
	nb := requested(testRequest("alice", "", "s1"))
	nb.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "JUPYTER_GATEWAY_RETRY_MAX", Value: "3"}}
	var values []string
	for _, variable := range deployment(testConfig(), nb, "", tokenAlone(nb)).Spec.Template.Spec.Containers[0].Env {
		if variable.Name == "JUPYTER_GATEWAY_RETRY_MAX" {
			values = append(values, variable.Value)
		}
	}
	assert.Equal(t, []string{"3"}, values)
}

func TestNotebookContainerIsFoundByName(t *testing.T) {
	nb := requested(testRequest("alice", "", "s1"))
	nb.Spec.Template.Spec.Containers = []corev1.Container{{Name: "sidecar", Image: "s"}, {Name: "notebook"}}
	containers := deployment(testConfig(), nb, "", tokenAlone(nb)).Spec.Template.Spec.Containers
	assert.Nil(t, containers[0].ReadinessProbe)
	assert.NotNil(t, containers[1].ReadinessProbe)
	assert.Equal(t, "registry.example/notebook:1", containers[1].Image)
	assert.False(t, *containers[0].SecurityContext.AllowPrivilegeEscalation)
}

func TestRefusals(t *testing.T) {
	home := func(change func(*v1alpha1.NotebookStorage)) func(*v1alpha1.JupyterNotebook) {
		return func(nb *v1alpha1.JupyterNotebook) { change(nb.Spec.Storage) }
	}
	named := corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "k"}
	twice := &v1alpha1.JupyterAuth{Token: new(string), TokenSecretRef: &named}
	for name, row := range map[string]struct {
		change func(*v1alpha1.JupyterNotebook)
		want   Reason
	}{
		"as requested":     {func(*v1alpha1.JupyterNotebook) {}, ""},
		"own namespace":    {func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Gateway.Namespace = "hub" }, ""},
		"nameless gateway": {func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Gateway.Name = "" }, ReasonGatewayRefused},
		"dotted name":      {func(nb *v1alpha1.JupyterNotebook) { nb.Name = "a.b" }, ReasonNameInvalid},
		"relative path":    {home(func(s *v1alpha1.NotebookStorage) { s.Home.MountPath = "home" }), ReasonStorageRefused},
		"root path":        {home(func(s *v1alpha1.NotebookStorage) { s.Home.MountPath = "//" }), ReasonStorageRefused},
		"same path twice":  {home(func(s *v1alpha1.NotebookStorage) { s.Shared[0].MountPath = "/home/jovyan/" }), ReasonStorageRefused},
		"token twice":      {func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Auth = twice }, ReasonAuthRefused},
		"nameless Secret": {func(nb *v1alpha1.JupyterNotebook) {
			nb.Spec.Auth = &v1alpha1.JupyterAuth{PasswordSecretRef: &corev1.SecretKeySelector{Key: "k"}}
		}, ReasonAuthRefused},
		"no size":         {home(func(s *v1alpha1.NotebookStorage) { s.Home.Size = resource.Quantity{} }), ReasonStorageRefused},
		"bad volume name": {home(func(s *v1alpha1.NotebookStorage) { s.Shared[0].Name = "A b" }), ReasonStorageRefused},
	} {
		t.Run(name, func(t *testing.T) {
			nb := requested(testRequest("alice", "", "s1"))
			row.change(nb)
			why := refuse(nb)
			if row.want == "" {
				assert.Nil(t, why)
				return
			}
			require.NotNil(t, why)
			assert.Equal(t, row.want, why.reason)
			assert.NotEmpty(t, why.message)
		})
	}
}

// TestRefusedTemplates holds the table that kernels are held to as well.
func TestRefusedTemplates(t *testing.T) {
	for name, row := range podrulestest.Templates() {
		t.Run(name, func(t *testing.T) {
			nb := requested(testRequest("alice", "", "s1"))
			nb.Spec.Template.PodTemplateSpec = podrulestest.Template(row)
			nb.Spec.KernelOptions = nil // no policy gives it an account
			why := refuse(nb)
			if row.Path == "" {
				assert.Nil(t, why)
				return
			}
			require.NotNil(t, why)
			assert.Equal(t, ReasonTemplateRefused, why.reason)
			assert.Contains(t, why.message, "spec.template."+row.Path+": ")
		})
	}
}

// TestLabelsOfUsers: those of a user's notebooks are those of their kernels.
func TestLabelsOfUsers(t *testing.T) {
	for user, label := range podrulestest.Users() {
		template := deployment(testConfig(), requested(testRequest(user, "", "s1")), "", corev1.SecretKeySelector{}).Spec.Template
		assert.Equal(t, label, template.Labels[v1alpha1.LabelHubUsername], user)
		assert.Equal(t, user, template.Annotations[v1alpha1.LabelHubUsername])
	}
}

func TestCheckRequest(t *testing.T) {
	require.NoError(t, check(testRequest("alice", "", "s1"), time.Now()))
	for name, change := range map[string]func(*Request){
		"no user":          func(r *Request) { r.User = "" },
		"not UTF-8":        func(r *Request) { r.User = "a\xff" },
		"no start":         func(r *Request) { r.Start = "" },
		"bad variable":     func(r *Request) { r.Env["A B"] = "" },
		"NUL in value":     func(r *Request) { r.Env["A"] = "\x00" },
		"huge environment": func(r *Request) { r.Env["A"] = string(make([]byte, MaxEnvBytes)) },
		"NUL in argument":  func(r *Request) { r.Args = []string{"\x00"} },
		"no memory limit":  func(r *Request) { r.MemoryLimit = resource.Quantity{} },
		"negative cpu":     func(r *Request) { r.CPULimit = resource.MustParse("-1") },
		"request > limit":  func(r *Request) { r.CPURequest = resource.MustParse("4") },
		"huge options":     func(r *Request) { r.Options = make([]byte, maxOptionsBytes+1) },
	} {
		t.Run(name, func(t *testing.T) {
			req := testRequest("alice", "", "s1")
			change(&req)
			err := check(req, time.Now())
			assert.ErrorIs(t, err, ErrInvalid)
			assert.NotContains(t, err.Error(), "secret-of-s1")
		})
	}
}

func TestConfigValidate(t *testing.T) {
	require.NoError(t, testConfig().Validate())
	err := Config{ImagePullPolicy: "Sometimes"}.Validate()
	for _, path := range []string{"namespace:", "defaultImage:", "imagePullPolicy:"} {
		assert.ErrorContains(t, err, path)
	}
	config := testConfig()
	config.ImagePullPolicy = ""
	require.NoError(t, config.Validate(), "Kubernetes' own rule")
	config.GatewayName = ""
	require.NoError(t, config.Validate(), "no remote kernels")
	config.GatewayName = "a.b"
	assert.ErrorContains(t, config.Validate(), "gatewayName:")
}
