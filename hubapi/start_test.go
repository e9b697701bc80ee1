package hubapi

import (
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/internalssl/internalssltest"
	"github.com/elastichub/elastichub/spawner"
)

func TestStartRequest(t *testing.T) {
	t.Parallel()
	storage := &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: resource.MustParse("1Gi")}}
	tolerations := []corev1.Toleration{{Key: "notebooks", Operator: corev1.TolerationOpExists}}
	affinity := &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{}}
	tokens := []v1alpha1.ServiceAccountToken{{Audience: "sts.amazonaws.com", Path: "aws"}}
	secrets := []v1alpha1.PullSecret{{Name: "registry"}}
	mlflow := &v1alpha1.PolicyEnvSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "mlflow"}, Key: "token"}}
	pod := &v1alpha1.PolicyPod{Labels: map[string]string{"team": "ml"}}
	a := groups.Allowance{
		Affinity: affinity, ImagePullSecrets: secrets, ServiceAccountName: "bucket", ServiceAccountTokens: tokens,
		Policies: []string{"research", "everyone"}, Groups: []groups.Group{{Name: "ml", DN: "cn=ml,dc=x"}, {Name: "staff"}},
		CPU: groups.Range{RequestRatio: 0.3333}, Memory: groups.Range{RequestRatio: 1},
		Images:       []v1alpha1.ImageChannel{{ID: "stable", Image: "r/nb:1"}, {ID: "old", Image: "r/nb:0", Hidden: true}},
		NodeSelector: map[string]string{"pool": "n"}, Tolerations: tolerations, PriorityClassName: "low", Storage: storage,
		Env: []v1alpha1.PolicyEnv{{Name: "HF_HOME", Value: "/data"}, {Name: "JUPYTERHUB_API_TOKEN", Value: "of the policy"},
			{Name: "SCRATCH", Value: "/scratch/{username}/{x}"}, {Name: "MLFLOW_TOKEN", ValueFrom: mlflow}, {Name: "JUPYTERHUB_USER", ValueFrom: mlflow}},
		Kernels:        v1alpha1.PolicyKernels{IdleSeconds: 60},
		Pod:            pod,
		ServersPerUser: 3, ServerIdleSeconds: 3600, MaxRunSeconds: 7200,
	}
	idle := int64(60)
	key := spawner.Key{User: "u/1", Server: "s"}
	b := startBody{Start: "s1", Env: map[string]string{"JUPYTERHUB_API_TOKEN": "secret", "JUPYTERHUB_USER": "u/1"}, Command: []string{"c"}, Args: []string{"--a"}}
	o := forms.Options{CPU: resource.MustParse("2"), Memory: resource.MustParse("4Gi"), Image: "old"}

	got, err := startRequest(key, b, a, o)
	require.NoError(t, err)
	assert.Equal(t, "670m", got.CPURequest.String())
	got.CPURequest = resource.Quantity{}
	assert.Zero(t, got.MemoryRequest.Cmp(resource.MustParse("4Gi")))
	got.MemoryRequest = resource.Quantity{}
	assert.Equal(t, spawner.Request{
		Key: key, Start: "s1", Command: []string{"c"}, Args: []string{"--a"},
		// CPU_* and MEM_* are the spawner's.
		Env:       map[string]string{"HF_HOME": "/data", "JUPYTERHUB_API_TOKEN": "secret", "JUPYTERHUB_USER": "u/1", "SCRATCH": "/scratch/u/1/{x}"},
		SecretEnv: []corev1.EnvVar{{Name: "MLFLOW_TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: mlflow.SecretKeyRef}}},
		Image:     "r/nb:0", ImageChannel: "old", CPULimit: resource.MustParse("2"), MemoryLimit: resource.MustParse("4Gi"),
		NodeSelector: map[string]string{"pool": "n"}, Tolerations: tolerations, PriorityClassName: "low", Storage: storage,
		Affinity: affinity, ImagePullSecrets: secrets, ServiceAccountName: "bucket", ServiceAccountTokens: tokens,
		Pod:            pod,
		KernelOptions:  v1alpha1.KernelOptions{Policies: []string{"research", "everyone"}, Groups: []string{"ml", "staff"}, IdleTimeoutSeconds: &idle},
		ServersPerUser: 3, ServerIdleSeconds: 3600, MaxRunSeconds: 7200,
		Options: []byte(`{"cpu":"2","memory":"4Gi","image":"old"}`),
	}, got)

	o.Image = "r/nb:1"
	_, err = startRequest(key, b, a, o)
	var invalid *forms.Invalid
	require.ErrorAs(t, err, &invalid)
	assert.Equal(t, "image", invalid.Fields[0].Field)
}

func TestCheckStart(t *testing.T) {
	t.Parallel()
	good := func() startBody {
		return startBody{Start: "s-1.a_B", Env: map[string]string{"_A.b-1": "any\nthing"}, Command: []string{"c"}, Args: []string{"$(x)"}}
	}
	pair := internalssltest.New(t).Pair(t, "jupyter-u.hub.svc")
	withSSL := good()
	withSSL.SSL = &sslBody{pair.Key, pair.Certificate, pair.Authorities}
	require.NoError(t, checkStart(withSSL, time.Now()))
	require.NoError(t, checkStart(good(), time.Now()))
	for name, row := range map[string]struct {
		change  func(*startBody)
		pointer string
		code    string
	}{
		"no start":        {func(b *startBody) { b.Start = "" }, "/start", "malformed"},
		"start too long":  {func(b *startBody) { b.Start = strings.Repeat("a", 129) }, "/start", "malformed"},
		"start with line": {func(b *startBody) { b.Start = "a\n" }, "/start", "malformed"},
		"env name":        {func(b *startBody) { b.Env["A/~="] = "" }, "/env/A~1~0=", "malformed"},
		"env NUL":         {func(b *startBody) { b.Env["A"] = "x\x00" }, "/env/A", "malformed"},
		"env name digit":  {func(b *startBody) { b.Env["1X"] = "" }, "/env/1X", "malformed"},
		"variable":        {func(b *startBody) { b.Env["A"] = strings.Repeat("a", spawner.MaxStringBytes-1) }, "/env/A", "above_max"},
		"variables": {func(b *startBody) {
			for _, name := range []string{"A", "B", "C", "D", "E"} {
				b.Env[name] = strings.Repeat("a", spawner.MaxStringBytes-2)
			}
		}, "/env", "above_max"},
		"word":           {func(b *startBody) { b.Command[0], b.Args[0] = "", strings.Repeat("a", spawner.MaxStringBytes+1) }, "/args/0", "above_max"},
		"words":          {func(b *startBody) { b.Args = []string{strings.Repeat("a", spawner.MaxStringBytes), "bb"} }, "/args", "above_max"},
		"no key":         {func(b *startBody) { b.SSL = &sslBody{Certificate: pair.Certificate, Authorities: pair.Authorities} }, "/ssl/key", "malformed"},
		"no certificate": {func(b *startBody) { b.SSL = &sslBody{Key: pair.Key, Authorities: pair.Authorities} }, "/ssl/cert", "malformed"},
		"authorities": {func(b *startBody) {
			b.SSL = &sslBody{pair.Key, pair.Certificate, strings.Repeat(pair.Authorities, 300)}
		}, "/ssl/ca", "above_max"},
		"no command":     {func(b *startBody) { b.Command = nil }, "/cmd", "missing"},
		"command NUL":    {func(b *startBody) { b.Command[0] = "\x00" }, "/cmd/0", "malformed"},
		"argument NUL":   {func(b *startBody) { b.Args[0] = "\x00" }, "/args/0", "malformed"},
		"many arguments": {func(b *startBody) { b.Args = make([]string, maxWords) }, "/args", "above_max"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := good()
			row.change(&b)
			var invalid *invalidStart
			require.ErrorAs(t, checkStart(b, time.Now()), &invalid)
			require.Len(t, invalid.faults, 1)
			assert.Equal(t, row.pointer, invalid.faults[0].Pointer)
			assert.Equal(t, row.code, invalid.faults[0].Code)
			assert.NotEmpty(t, invalid.faults[0].Message)
		})
	}
}

// TestRefusalsNameTheVariable: who reads them has not seen the request.
func TestRefusalsNameTheVariable(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", spawner.MaxStringBytes-len("HUGE="))
	require.Empty(t, envFaults(map[string]string{"HUGE": long, "QUOTED": "it's \"$(so)\"\n$HOME\t\\"}))
	for _, row := range []struct {
		env  map[string]string
		said []string
	}{
		{map[string]string{"HUGE": long + "a"}, []string{"HUGE: has 131072 bytes with its name; Linux gives a program at most 131071 in one variable"}},
		{map[string]string{"A\n=": "\x00"}, []string{`"A\n=": the name`, `"A\n=": a value must not contain NUL`}},
		{map[string]string{"A": long, "B": long, "C": long, "D": long, "HUGE": long}, []string{"the variables have 655338 bytes together, the most is 524288; the largest is HUGE with 131071"}},
		{map[string]string{strings.Repeat("é", 60): ""}, []string{`"` + strings.Repeat("é", 50) + `…": the name`}},
	} {
		faults := envFaults(row.env)
		require.Len(t, faults, len(row.said))
		for i, said := range row.said {
			assert.Contains(t, faults[i].Message, said)
		}
	}
}

// TestTheLongestVariableStartsAProgram holds the bound against the kernel that runs this.
func TestTheLongestVariableStartsAProgram(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" || os.Getpagesize() != 4096 {
		t.Skip("the bound is Linux's with pages of 4 KiB")
	}
	for _, longer := range []int{0, 1} {
		text := strings.Repeat("a", spawner.MaxStringBytes+longer)
		variable, word := exec.Command("/bin/true"), exec.Command("/bin/true", text)
		variable.Env = []string{"A=" + text[len("A="):]}
		for _, command := range []*exec.Cmd{variable, word} {
			if err := command.Run(); longer == 0 {
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, err, syscall.E2BIG)
			}
		}
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	good := DefaultConfig()
	good.Tokens = FixedTokens(strings.Repeat("a", 32))
	require.NoError(t, good.Validate())

	err := Config{Tokens: FixedTokens(strings.Repeat("a", 32), "hunter2"), LookupTimeout: 2, RequestTimeout: 1, KeepAlive: 0}.Validate()
	require.Error(t, err)
	for _, path := range []string{"hubAPI.tokens[1]", "hubAPI.lookupTimeout", "hubAPI.keepAlive"} {
		assert.ErrorContains(t, err, path)
	}
	assert.NotContains(t, err.Error(), "hunter2")
	assert.NoError(t, DefaultConfig().Validate(), "without a Hub")
	assert.False(t, accepted(http.Header{"Authorization": {"Bearer "}}, nil), "then nobody is let in")
}
