// Package healthtest asks those who judge the health of objects: kstatus, by which Helm and
// Flux do, and the scripts for Argo CD in docs/health.md, in a real Lua.
package healthtest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	lua "github.com/yuin/gopher-lua"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Kstatus is what kstatus says of an object: Current, InProgress, Failed, Terminating.
func Kstatus(t testing.TB, o *unstructured.Unstructured) string {
	t.Helper()
	result, err := status.Compute(o)
	require.NoError(t, err)
	return string(result.Status)
}

// Argo is what Argo CD says of an object by the script in health.md of the directory docs:
// Healthy, Progressing, Degraded.
func Argo(t testing.TB, docs string, o *unstructured.Unstructured) string {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true}) // as Argo CD does
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString} {
		require.NoError(t, state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)))
	}
	state.SetGlobal("obj", value(state, o.Object))
	require.NoError(t, state.DoString(script(t, docs)))
	answer, ok := state.Get(-1).(*lua.LTable)
	require.True(t, ok, "the script returns no table")
	return lua.LVAsString(answer.RawGetString("status"))
}

// script is the one in the ConfigMap that the page shows.
func script(t testing.TB, docs string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(docs, "health.md"))
	require.NoError(t, err)
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1) {
		var config corev1.ConfigMap
		if yaml.Unmarshal(block[1], &config) != nil || config.Name != "argocd-cm" {
			continue
		}
		var customizations map[string]map[string]string
		require.NoError(t, yaml.Unmarshal([]byte(config.Data["resource.customizations"]), &customizations))
		return customizations[v1alpha1.GroupVersion.Group+"/*"]["health.lua"]
	}
	require.FailNow(t, "the page shows no argocd-cm")
	return ""
}

// value makes Lua's of JSON's.
func value(state *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case []any:
		table := state.NewTable()
		for _, each := range v {
			table.Append(value(state, each))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for name, each := range v {
			table.RawSetString(name, value(state, each))
		}
		return table
	}
	return lua.LNil
}

// Object is one of our kinds as tools read it.
func Object(t testing.TB, kind string, o client.Object) *unstructured.Unstructured {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	read := &unstructured.Unstructured{}
	require.NoError(t, utiljson.Unmarshal(text, &read.Object))
	read.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	return read
}

// Kubectl runs kubectl, as it comes with the API server of the tests, and returns what it says.
func Kubectl(t testing.TB, config *rest.Config, namespace string, arguments ...string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	entry := clientcmdapi.Config{
		Clusters:  map[string]*clientcmdapi.Cluster{"c": {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"u": {ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}},
		Contexts:  map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u", Namespace: namespace}}, CurrentContext: "x",
	}
	require.NoError(t, clientcmd.WriteToFile(entry, file))
	cmd := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), arguments...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+file)
	said, err := cmd.CombinedOutput()
	return string(said), err
}

// Judged is what kstatus and Argo CD say of an object as the API server has it, such as
// "Current Healthy"; docs is the path of docs/.
func Judged(t testing.TB, c client.Client, docs, kind, namespace, name string) string {
	t.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o))
	return Kstatus(t, o) + " " + Argo(t, docs, o)
}

// Told are the reasons of the Events about an object, in the order of their times, each with
// an exclamation mark if it is a warning.
func Told(t testing.TB, c client.Client, about client.Object) []string {
	t.Helper()
	var all corev1.EventList
	require.NoError(t, c.List(t.Context(), &all, client.InNamespace(about.GetNamespace())))
	slices.SortStableFunc(all.Items, func(a, b corev1.Event) int { return a.EventTime.Compare(b.EventTime.Time) })
	var told []string
	for _, e := range all.Items {
		if e.InvolvedObject.UID != about.GetUID() {
			continue
		}
		mark := ""
		if e.Type == corev1.EventTypeWarning {
			mark = "!"
		}
		told = append(told, e.Reason+mark)
	}
	return told
}
