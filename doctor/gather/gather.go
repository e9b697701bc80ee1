package gather

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/go-viper/mapstructure/v2"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	chart "github.com/elastichub/elastichub/charts/elastichub"
	"github.com/elastichub/elastichub/doctor"
)

// Options say what to look at.
type Options struct {
	Release, Namespace string
	// ValuesFiles are read in their order; without one, Helm's record of the release counts.
	ValuesFiles []string
	// Inside: the process runs in the cluster, and reaches what the service reaches.
	Inside bool
	// Ask asks a Pod for a path at a port; nil: through the API server, or the Pod itself from inside.
	Ask func(ctx context.Context, pod *corev1.Pod, port int32, path string) (status int, body []byte, err error)
}

// UnreachableError is a cluster that does not answer, or does not know who asks.
type UnreachableError struct{ cause error }

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("the cluster cannot be asked: %v", e.cause)
}
func (e *UnreachableError) Unwrap() error { return e.cause }

// Gather reads everything that the checks look at. Error: *UnreachableError, and whatever
// is wrong with the values files themselves.
func Gather(ctx context.Context, config *rest.Config, options Options) (doctor.Picture, error) {
	g := &gatherer{picture: doctor.Picture{Release: options.Release, Namespace: options.Namespace}}
	over, err := readValues(options.ValuesFiles)
	if err != nil {
		return doctor.Picture{}, err
	}
	if err := g.connect(config); err != nil {
		return doctor.Picture{}, err
	}
	if len(options.ValuesFiles) == 0 {
		installed, err := installedValues(ctx, g.api, options.Namespace, options.Release)
		switch {
		case err != nil:
			g.unread("values", err)
		case installed == nil:
			g.unread("values", fmt.Errorf("neither a file is named nor does Helm know the release %s: those of the chart count", options.Release))
		}
		over = append(over, installed)
	}
	values, faults, err := chartValues(over...)
	if err != nil {
		return doctor.Picture{}, err
	}
	g.values, g.picture.ValuesFaults, g.picture.HasGroups = values, faults, hasGroups(values)
	if err := mapstructure.Decode(values, &g.picture.Values); err != nil && len(faults) == 0 {
		return doctor.Picture{}, fmt.Errorf("values: %w", err)
	}
	g.picture.Oldest = oldest()
	files, err := os.MkdirTemp("", "elastichub-doctor-")
	if err != nil {
		return doctor.Picture{}, err
	}
	defer os.RemoveAll(files)
	g.ask = options.Ask
	if g.ask == nil {
		g.ask = podAsker{config: config, inside: options.Inside}.ask
	}
	g.asker = asker{api: g.api, namespace: options.Namespace, values: values, inside: options.Inside, files: files}
	g.all(ctx)
	return g.picture, nil
}

func readValues(files []string) (all []map[string]any, err error) {
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var values map[string]any
		if err := yaml.UnmarshalStrict(text, &values); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, values)
	}
	return all, nil
}

func oldest() string {
	var said struct {
		KubeVersion string `json:"kubeVersion"`
	}
	if err := yaml.Unmarshal(chart.Chart, &said); err != nil {
		return ""
	}
	return said.KubeVersion
}

type gatherer struct {
	api    client.Client
	values map[string]any
	asker  asker
	ask    func(ctx context.Context, pod *corev1.Pod, port int32, path string) (int, []byte, error)

	mu      sync.Mutex
	picture doctor.Picture
}

// connect asks for the version, as a client of any rights may.
func (g *gatherer) connect(config *rest.Config) error {
	asking, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return &UnreachableError{err}
	}
	version, err := asking.ServerVersion()
	if err != nil {
		return &UnreachableError{err}
	}
	g.picture.Kubernetes = version.GitVersion
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, storagev1.AddToScheme, discoveryv1.AddToScheme, authorizationv1.AddToScheme,
		resourcev1.AddToScheme, coordinationv1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	if g.api, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return &UnreachableError{err}
	}
	return nil
}

// unread notes that something could not be read. Callers of the same name lose nothing.
func (g *gatherer) unread(what string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.ContainsFunc(g.picture.Unread, func(u doctor.Unread) bool { return u.What == what }) {
		g.picture.Unread = append(g.picture.Unread, doctor.Unread{What: what, Why: err.Error()})
	}
}

// set writes to the picture.
func (g *gatherer) set(write func(*doctor.Picture)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	write(&g.picture)
}

// all reads everything at once.
func (g *gatherer) all(ctx context.Context) {
	p := &g.picture
	here := client.InNamespace(p.Namespace)
	var wg sync.WaitGroup
	for _, read := range []func(){
		func() { g.deployment(ctx) },
		func() { g.kinds(ctx) },
		func() { list(ctx, g, "storageclasses", &storagev1.StorageClassList{}, &p.StorageClasses) },
		func() { list(ctx, g, "nodes", &corev1.NodeList{}, &p.Nodes) },
		func() { list(ctx, g, "pods", &corev1.PodList{}, &p.Pods, here) },
		func() { list(ctx, g, "grouppolicies", &v1alpha1.GroupPolicyList{}, &p.Policies, here) },
		func() { list(ctx, g, "jupyterkernelspecs", &v1alpha1.JupyterKernelSpecList{}, &p.KernelSpecs, here) },
		func() {
			list(ctx, g, "jupyterkerneltemplates", &v1alpha1.JupyterKernelTemplateList{}, &p.Templates, here)
		},
		func() { list(ctx, g, "jupytergateways", &v1alpha1.JupyterGatewayList{}, &p.Gateways, here) },
		func() {
			list(ctx, g, "jupyternotebooks", &v1alpha1.JupyterNotebookList{}, &p.Notebooks, here)
		},
		func() { g.drivers(ctx) },
		func() { g.daemonSets(ctx) },
		func() { list(ctx, g, "deviceclasses", &resourcev1.DeviceClassList{}, &p.DeviceClasses) },
		func() { list(ctx, g, "resourceslices", &resourcev1.ResourceSliceList{}, &p.ResourceSlices) },
		func() { g.speakers(ctx) },
		func() { g.secrets(ctx) },
		func() { g.rights(ctx) },
		func() { g.namespaces(ctx) },
		func() {
			asked := g.asker.hubs(ctx)
			g.set(func(p *doctor.Picture) { p.Hubs = asked })
		},
		func() {
			asked := g.asker.directories(ctx)
			g.set(func(p *doctor.Picture) { p.Directories = asked })
		},
	} {
		wg.Go(read)
	}
	wg.Wait()
	slices.SortFunc(p.Unread, func(a, b doctor.Unread) int { return strings.Compare(a.What, b.What) })
}

// list reads objects. Those of a kind that the cluster does not know are none.
func list[T any](ctx context.Context, g *gatherer, what string, into client.ObjectList, items *[]T, options ...client.ListOption) {
	err := g.api.List(ctx, into, options...)
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return
	}
	if err != nil {
		g.unread(what, err)
		return
	}
	found := reflect.ValueOf(into).Elem().FieldByName("Items").Interface().([]T)
	g.set(func(*doctor.Picture) { *items = found })
}

func (g *gatherer) deployment(ctx context.Context) {
	var deployment appsv1.Deployment
	err := g.api.Get(ctx, types.NamespacedName{Namespace: g.picture.Namespace, Name: g.picture.Release}, &deployment)
	if err != nil && !apierrors.IsNotFound(err) {
		g.unread("deployments", err)
	}
	g.set(func(p *doctor.Picture) { p.Installed = err == nil })
}

var crdKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// kinds compares the definitions in the cluster with the binary's.
func (g *gatherer) kinds(ctx context.Context) {
	names, err := fs.Glob(chart.CRDs, "crds/*.yaml")
	if err != nil {
		g.unread("kinds", err)
		return
	}
	for _, name := range names {
		text, err := chart.CRDs.ReadFile(name)
		if err != nil {
			g.unread("kinds", err)
			return
		}
		ours, there := &unstructured.Unstructured{}, &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &ours.Object); err != nil {
			g.unread("kinds", err)
			return
		}
		there.SetGroupVersionKind(crdKind)
		err = g.api.Get(ctx, types.NamespacedName{Name: ours.GetName()}, there)
		kind := doctor.Kind{Name: ours.GetName(), State: doctor.KindDifferent}
		switch {
		case apierrors.IsNotFound(err):
			kind.State = doctor.KindMissing
		case err != nil:
			g.unread("customresourcedefinitions", err)
			return
		case holds(plain(there.Object["spec"]), plain(ours.Object["spec"])):
			kind.State = doctor.KindSame
		}
		g.set(func(p *doctor.Picture) { p.Kinds = append(p.Kinds, kind) })
	}
}

// plain is a value as JSON has it, with numbers of one type.
func plain(value any) any {
	text, err := json.Marshal(value)
	if err != nil {
		return nil
	}
	var plain any
	if err := json.Unmarshal(text, &plain); err != nil {
		return nil
	}
	return plain
}

// holds reports whether all of ours is there. Beside it there may be what the API server
// fills in, but no field of an object of the kinds: those have schemas of their own.
func holds(there, ours any) bool {
	switch ours := ours.(type) {
	case map[string]any:
		t, ok := there.(map[string]any)
		if properties, _ := ours["properties"].(map[string]any); properties != nil {
			if theirs, _ := t["properties"].(map[string]any); len(theirs) != len(properties) {
				return false
			}
		}
		for key, value := range ours {
			if !ok || !holds(t[key], value) {
				return false
			}
		}
		return true
	case []any:
		t, ok := there.([]any)
		if !ok || len(t) != len(ours) {
			return false
		}
		for i := range ours {
			if !holds(t[i], ours[i]) {
				return false
			}
		}
		return true
	case nil:
		return there == nil
	default:
		return reflect.DeepEqual(there, ours)
	}
}

func (g *gatherer) drivers(ctx context.Context) {
	var drivers storagev1.CSIDriverList
	if err := g.api.List(ctx, &drivers); err != nil {
		g.unread("csidrivers", err)
		return
	}
	attaches := map[string]bool{}
	for _, d := range drivers.Items {
		attaches[d.Name] = d.Spec.AttachRequired == nil || *d.Spec.AttachRequired
	}
	g.set(func(p *doctor.Picture) { p.Attaches = attaches })
}

func (g *gatherer) daemonSets(ctx context.Context) {
	var sets appsv1.DaemonSetList
	if err := g.api.List(ctx, &sets); err != nil {
		g.unread("daemonsets", err)
		return
	}
	g.set(func(p *doctor.Picture) {
		for _, s := range sets.Items {
			p.DaemonSets = append(p.DaemonSets, s.Name)
		}
	})
}

// named are the values that name Secrets, and the key that the service reads.
var named = []struct {
	path []string
	key  string
	// needs is the value without which the Secret is not read.
	needs []string
}{
	{[]string{"hub", "existingSecret"}, "token", nil},
	{[]string{"hub", "tokenSecret"}, "token", []string{"hub", "apiURL"}},
	{[]string{"signing", "existingSecret"}, "seed", nil},
	{[]string{"kernels", "keep", "existingSecret"}, "seed", nil},
	{[]string{"portal", "existingSecret"}, "key", []string{"portal", "enabled"}},
	{[]string{"portal", "oidc", "secret"}, "secret", []string{"portal", "enabled"}},
	{[]string{"groups", "ldap", "bindPasswordSecret"}, "password", nil},
	{[]string{"hub", "certSecret"}, "tls.key", []string{"hub", "apiURL"}},
	{[]string{"groups", "hub", "tokenSecret"}, "token", []string{"groups", "hub", "apiURL"}},
	{[]string{"groups", "hub", "certSecret"}, "tls.key", []string{"groups", "hub", "apiURL"}},
	{[]string{"metrics", "tokenSecret"}, "token", nil},
	{[]string{"metrics", "notebooks", "existingSecret"}, "sha256", nil},
	{[]string{"prometheus", "tokenSecret"}, "token", nil},
}

func (g *gatherer) secrets(ctx context.Context) {
	for _, n := range named {
		name := textAt(g.values, n.path...)
		if name == "" || len(n.needs) > 0 && textAt(g.values, n.needs...) == "" && !isSet(g.values, n.needs...) {
			continue
		}
		if n.path[0] == "portal" && n.path[1] == "oidc" && textAt(g.values, "portal", "provider") != "oidc" {
			continue
		}
		secret := doctor.Secret{Value: strings.Join(n.path, "."), Name: name, Key: n.key}
		content, err := g.asker.secret(ctx, name, n.key)
		switch {
		case apierrors.IsNotFound(err):
			secret.Missing = doctor.SecretAbsent
		case err != nil:
			g.unread("secrets", err)
			return
		case content == "":
			secret.Missing = doctor.SecretKeyless
		}
		g.set(func(p *doctor.Picture) { p.Secrets = append(p.Secrets, secret) })
	}
}
