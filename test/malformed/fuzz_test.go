package malformed

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// envKubeconfig is how the processes that go test -fuzz starts find the API server
// of the first one.
const envKubeconfig = "ELASTICHUB_FUZZ_KUBECONFIG"

// order of the kinds in the fuzzer's input; good is the least that each needs. The
// names are those of what fuzzWorld makes.
var (
	order = []string{"JupyterNotebook", "JupyterGateway", "JupyterKernel", "JupyterKernelSpec", "JupyterKernelTemplate", "GroupPolicy"}
	good  = map[string]string{
		"JupyterNotebook":       `{"user": "alice", "template": {"spec": {"containers": [{"name": "notebook", "image": "x"}]}}}`,
		"JupyterGateway":        `{"kernels": ["spec"]}`,
		"JupyterKernel":         `{"gateway": "gw", "kernelSpec": "spec", "user": "alice", "run": 1}`,
		"JupyterKernelSpec":     `{"image": "x", "template": {"name": "template"}}`,
		"JupyterKernelTemplate": `{"template": {"spec": {"containers": [{"name": "kernel", "image": "x"}]}}}`,
		"GroupPolicy":           `{"groups": ["g"], "cpu": {"min": 1, "max": 1}, "memory": {"min": "1Gi", "max": "1Gi"}, "images": [{"id": "a", "image": "x"}]}`,
	}
)

// values stand where something else belongs. Those that fuzzing finds are added by
// go test itself.
var values = []string{
	`null`, `""`, `"x"`, `0`, `-1`, `1.5`, `1e30`, `9223372036854775807`, `18446744073709551616`, `true`, `[]`, `{}`, `[null]`, `[{}]`, `{"": null}`, `{"a": [1, {"b": "c"}]}`,
	`"-5Gi"`, `"1e-30"`, `"\u0000"`, `"🦋/../."`, `["x", "x"]`, `{"spec": {"containers": null}}`, `{"metadata": {"labels": {"version": 1}}}`, `[[[[]]]]`,
}

func fuzzWorld(f *testing.F) *world {
	if text := os.Getenv(envKubeconfig); text != "" {
		config, err := clientcmd.RESTConfigFromKubeConfig([]byte(text))
		require.NoError(f, err)
		return inNamespace(f, config)
	}
	w := newWorld(f)
	f.Setenv(envKubeconfig, w.kubeconfig)
	w.open()
	return w
}

// FuzzObjects puts a value at some place of a good object, past validation, while
// the service and a gateway's caches run. Another object of its kind must become
// what it is to be, both caches must see it, a cache that begins then must come up,
// no controller may panic, and what cannot be read must say so and stay as it is.
//
// path chooses a field of the kind at each step; the step after the last field of an
// object is to stop there.
func FuzzObjects(f *testing.F) {
	base := fuzzWorld(f)
	for name, spec := range map[string]string{"template": "JupyterKernelTemplate", "spec": "JupyterKernelSpec", "gw": "JupyterGateway"} {
		base.write(spec, name, decoded(f, good[spec]))
	}
	known, stop := base.serve()
	f.Cleanup(stop)
	base.eventually("controllers", func() bool { _, counted := controllerPanics(f); return counted })
	base.patience = 8 * time.Second // go test -fuzz allows ten for an input
	for i, value := range values {
		for kind := range order {
			f.Add(byte(kind), []byte{byte(i * 7), byte(i * 5), byte(i * 3), byte(i), byte(i + kind), 255}, value)
		}
	}
	var count atomic.Int64
	f.Fuzz(func(t *testing.T, kind byte, path []byte, value string) {
		w := *base
		w.TB = t
		w.holds(known, order[int(kind)%len(order)], path, value, count.Add(1))
	})
}

func (w *world) holds(known readers, kind string, path []byte, value string, n int64) {
	w.Helper()
	object := map[string]any{"spec": decoded(w, good[kind])}
	var odd any = value // text that is no JSON is a text
	if json.Unmarshal([]byte(value), &odd) != nil {
		odd = value
	}
	full := reflect.ValueOf(kinds[kind]()).Elem()
	whole := map[string]any{"spec": filled(full.FieldByName("Spec").Type()), "status": filled(full.FieldByName("Status").Type())}
	put(object, whole, path, odd)
	bad := w.object(kind, fmt.Sprintf("bad-%d-%d", os.Getpid(), n), object["spec"])
	described := kind + " " + text(w, object)
	status, hasStatus := object["status"]
	panics, _ := controllerPanics(w)

	created := bad.DeepCopy()
	if err := w.api.Create(w.Context(), created); err != nil {
		require.True(w, apierrors.IsBadRequest(err) || apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err), "%s: %v", described, err)
		return
	}
	defer w.remove(bad)
	if hasStatus {
		w.eventually("status of "+described, func() bool {
			now := bad.DeepCopy()
			require.NoError(w, w.api.Get(w.Context(), client.ObjectKeyFromObject(bad), now))
			now.Object["status"] = status
			return !apierrors.IsConflict(w.api.Status().Update(w.Context(), now)) // some are refused: what scale reads has a type
		})
	}

	other := w.object(kind, fmt.Sprintf("good-%d-%d", os.Getpid(), n), decoded(w, good[kind]))
	require.NoError(w, w.api.Create(w.Context(), other.DeepCopy()))
	defer w.remove(other)
	w.eventually("beside "+described, func() bool { return w.become(kind, other.GetName()) })
	for name, reader := range map[string]client.Reader{"service": known.service, "gateway": known.gateway} {
		if name == "gateway" && kind == "JupyterKernelTemplate" {
			continue // a gateway reads none
		}
		for _, o := range []string{other.GetName(), bad.GetName()} {
			w.eventually(name+" sees "+o+" beside "+described, func() bool {
				return reader.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: o}, kinds[kind]()) == nil
			})
		}
	}
	w.begins(kind, described)
	read := kinds[kind]()
	require.NoError(w, json.Unmarshal([]byte(text(w, map[string]any{"spec": created.Object["spec"]})), read), described)
	if read.(interface{ Malformed() error }).Malformed() != nil {
		w.eventually("status Malformed of "+described, func() bool {
			ready := w.ready(kind, bad.GetName())
			return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == string(v1alpha1.ReasonMalformed)
		})
		now := bad.DeepCopy()
		require.NoError(w, w.api.Get(w.Context(), client.ObjectKeyFromObject(bad), now))
		require.Equal(w, text(w, created.Object["spec"]), text(w, now.Object["spec"]), "was changed: %s", described)
	}
	now, counted := controllerPanics(w)
	require.True(w, counted)
	require.Equal(w, panics, now, "a controller panicked: %s", described)
}

// become reports whether a good object is what it is to be.
func (w *world) become(kind, name string) bool {
	switch kind {
	case "JupyterNotebook", "JupyterGateway":
		return w.has(name, &appsv1.Deployment{})
	case "JupyterKernel":
		return w.has(name+"-1", &corev1.Pod{})
	default:
		ready := w.ready(kind, name)
		return ready != nil && ready.Status == metav1.ConditionTrue
	}
}

// begins lists a kind in a cache of its own, as after a restart.
func (w *world) begins(kind, beside string) {
	w.Helper()
	fresh, err := cache.New(w.config, cache.Options{Scheme: w.scheme, DefaultNamespaces: map[string]cache.Config{w.namespace: {}}})
	require.NoError(w, err)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- fresh.Start(ctx) }()
	_, err = fresh.GetInformer(ctx, kinds[kind]())
	require.NoError(w, err, "does not come up beside %s", beside)
	cancel()
	require.NoError(w, <-ended)
}

// remove ends an object, whatever it is.
func (w *world) remove(o client.Object) {
	require.NoError(w, client.IgnoreNotFound(w.api.Delete(w.Context(), o, client.PropagationPolicy(metav1.DeletePropagationBackground))))
}

// put sets the value at the path that the bytes choose among the fields of whole,
// making what is on its way in object.
func put(object, whole map[string]any, path []byte, value any) {
	for {
		names := slices.Sorted(maps.Keys(whole))
		step := 0
		if len(path) > 0 {
			step, path = int(path[0])%len(names), path[1:]
		}
		name := names[step]
		next, deeper := whole[name].(map[string]any)
		list, isList := whole[name].([]any)
		if isList && len(list) == 1 {
			next, deeper = list[0].(map[string]any)
		}
		if !deeper || len(next) == 0 || len(path) == 0 || path[0] == 255 {
			object[name] = value
			return
		}
		object, whole = within(object, name, isList), next
	}
}

// within is the object at a field, or first in the list there; it is made if need be.
func within(object map[string]any, name string, isList bool) map[string]any {
	if !isList {
		inner, ok := object[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			object[name] = inner
		}
		return inner
	}
	if list, ok := object[name].([]any); ok && len(list) > 0 {
		if inner, ok := list[0].(map[string]any); ok {
			return inner
		}
	}
	inner := map[string]any{}
	object[name] = []any{inner}
	return inner
}

// leaves are types that JSON has as one value.
var leaves = map[reflect.Type]any{
	reflect.TypeFor[resource.Quantity](): "1", reflect.TypeFor[metav1.Time](): "2026-01-02T03:04:05Z", reflect.TypeFor[metav1.MicroTime](): "2026-01-02T03:04:05.000000Z",
	reflect.TypeFor[metav1.Duration](): "1s", reflect.TypeFor[intstr.IntOrString](): int64(1), reflect.TypeFor[json.RawMessage](): map[string]any{}, reflect.TypeFor[metav1.FieldsV1](): map[string]any{},
}

// filled is a value of a type with every field set, as JSON has it.
func filled(t reflect.Type) any {
	if leaf, ok := leaves[t]; ok {
		return leaf
	}
	switch t.Kind() {
	case reflect.Pointer:
		return filled(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return ""
		}
		return []any{filled(t.Elem())}
	case reflect.Map:
		return map[string]any{"a": filled(t.Elem())}
	case reflect.Struct:
		object := map[string]any{}
		for i := range t.NumField() {
			field := t.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			switch {
			case name == "-" || !field.IsExported():
			case name == "" && field.Anonymous:
				for key, value := range filled(field.Type).(map[string]any) {
					object[key] = value
				}
			case name != "":
				object[name] = filled(field.Type)
			}
		}
		return object
	case reflect.Bool:
		return true
	case reflect.String:
		return "x"
	default:
		return int64(1)
	}
}

// TestTheFuzzerKnowsEveryField: what it fills can be read back, so that what
// cannot is the value it puts there.
func TestTheFuzzerKnowsEveryField(t *testing.T) {
	for kind, make := range kinds {
		o := make()
		object := reflect.ValueOf(o).Elem()
		text := text(t, map[string]any{"spec": filled(object.FieldByName("Spec").Type()), "status": filled(object.FieldByName("Status").Type())})
		require.NoError(t, json.Unmarshal([]byte(text), o))
		require.NoError(t, o.(interface{ Malformed() error }).Malformed(), "%s %s", kind, text)
	}
}

func decoded(t testing.TB, text string) any {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(text), &v))
	return v
}

// controllerPanics counts those that controller-runtime has caught in this process,
// if it counts already.
func controllerPanics(t testing.TB) (total float64, counted bool) {
	t.Helper()
	families, err := metrics.Registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() != "controller_runtime_reconcile_panics_total" {
			continue
		}
		counted = true
		for _, m := range family.GetMetric() {
			total += m.GetCounter().GetValue()
		}
	}
	return total, counted
}
