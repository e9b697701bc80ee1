// Package healthtest asks those who judge the health of objects: kstatus, by which Helm and
// Flux do, and the scripts for Argo CD in docs/health.md, in a real Lua.
package healthtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Kstatus is what kstatus says of an object: Current, InProgress, Failed, Terminating.
func Kstatus(t testing.TB, o *unstructured.Unstructured) string {
	t.Helper()
	result, err := status.Compute(o)
	require.NoError(t, err)
	return string(result.Status)
}

// Argo is what Argo CD says of an object by the script of its kind: Healthy, Progressing,
// Degraded, Suspended. docs is the path of docs/.
func Argo(t testing.TB, docs string, o *unstructured.Unstructured) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(docs, "health.md"))
	require.NoError(t, err)
	script := regexp.MustCompile("(?s)```lua\n-- [^\n]*\n(.*?)```").FindSubmatch(page)
	require.NotNil(t, script, "the page has no script")
	state := lua.NewState(lua.Options{SkipOpenLibs: true}) // as Argo CD does; its scripts have the basics only
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString} {
		require.NoError(t, state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)))
	}
	state.SetGlobal("obj", value(state, o.Object))
	require.NoError(t, state.DoString(string(script[1])))
	answer, ok := state.Get(-1).(*lua.LTable)
	require.True(t, ok, "the script returns no table")
	return lua.LVAsString(answer.RawGetString("status"))
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
func Object(t testing.TB, o client.Object) *unstructured.Unstructured {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	read := &unstructured.Unstructured{Object: map[string]any{}}
	read.SetAPIVersion("kubeflow.tkestack.io/v1alpha1")
	require.NoError(t, read.UnmarshalJSON(withKind(t, text)))
	return read
}

func withKind(t testing.TB, text []byte) []byte {
	t.Helper()
	var fields map[string]any
	require.NoError(t, json.Unmarshal(text, &fields))
	if fields["kind"] == nil {
		fields["apiVersion"], fields["kind"] = "kubeflow.tkestack.io/v1alpha1", "Object"
	}
	text, err := json.Marshal(fields)
	require.NoError(t, err)
	return text
}
