package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/test/apiserver"
)

const (
	// objectsMissed: one of so many notebooks sees each kind of change while no controller leads.
	objectsMissed = 10
	objectsRest   = 3 * time.Minute
	// objectsSettle is until what follows a change has been written. Four minutes after a kernel became idle
	// its status says another time of parking, since the stand-in does not park what an agent would have.
	objectsSettle = 5 * time.Minute
)

// spent is what the service spent until something was so.
type spent struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"` // seconds of processor
	Reads   float64 `json:"reads"`
	Writes  float64 `json:"writes"` // requests to the API server
	// Asked are those requests, as the API server has noted them.
	Asked []asked `json:"asked,omitempty"`
}

// objectFigures are what notebooks and kernels cost the controllers, as objects.
type objectFigures struct {
	Count     int    `json:"count"`
	Missed    int    `json:"missed"`
	Empty     weight `json:"empty"`
	Full      weight `json:"full"`
	Notebooks spent  `json:"notebooks"` // until all are Ready
	Kernels   spent  `json:"kernels"`
	Rest      spent  `json:"rest"`    // Seconds is how long it was looked at
	Restart   spent  `json:"restart"` // of the second replica: from the leader's end until all are right
	Stop      spent  `json:"stop"`    // until all are Stopped
}

// objectSite is an API server with Kubernetes' own controllers of Deployments and
// owners, a stand-in for the node, and replicas of the service.
type objectSite struct {
	b      *bench
	env    *envtest.Environment
	api    client.Client // writes, and reads from the API server
	cached cache.Cache
	notes  *audit
	theirs *process // Kubernetes' own controllers
	config []string // of the service
}

// replica is one of the service.
type replica struct {
	*process
	metrics string
}

// objects measures the controllers with many notebooks and kernels, which do nothing.
func objects(ctx context.Context, b *bench) (_ any, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, node, err := newObjectSite(ctx, b)
	if err != nil {
		return nil, err
	}
	defer func() {
		cancel()
		node.wait()
		s.theirs.stop()
		err = errors.Join(err, s.env.Stop())
	}()
	figures := &objectFigures{Count: b.objects, Missed: b.objects / objectsMissed}
	leader, err := s.replica(ctx)
	if err != nil {
		return nil, err
	}
	defer leader.stop()
	if err := leader.until(time.Minute, func() error { return s.gatewayReady(ctx) }); err != nil {
		return nil, err
	}
	if figures.Empty, err = weigh(ctx, leader.metrics); err != nil {
		return nil, err
	}

	b.say("  %d notebooks", b.objects)
	if figures.Notebooks, err = s.spend(ctx, leader, func() error {
		return parallel(8, b.objects, func(i int) error { return s.api.Create(ctx, s.notebook(i)) })
	}, s.notebooksIn(v1alpha1.NotebookReady, b.objects)); err != nil {
		return nil, err
	}
	b.say("  %d kernels", b.objects)
	if figures.Kernels, err = s.spend(ctx, leader, func() error {
		return parallel(8, b.objects, func(i int) error { return s.api.Create(ctx, s.kernel(i)) })
	}, s.kernelsReady); err != nil {
		return nil, err
	}
	time.Sleep(objectsSettle)
	b.say("  at rest for %s", objectsRest)
	if figures.Rest, err = s.rest(ctx, leader); err != nil {
		return nil, err
	}
	if figures.Full, err = weigh(ctx, leader.metrics); err != nil {
		return nil, err
	}
	next, err := s.replica(ctx)
	if err != nil {
		return nil, err
	}
	defer next.stop()
	b.say("  the leader is killed; %d notebooks are stopped, and %d lose their Services, before another leads", figures.Missed, figures.Missed)
	if figures.Restart, err = s.spend(ctx, next, func() error { return s.kill(ctx, leader) }, s.missedRight); err != nil {
		return nil, err
	}
	b.say("  all are stopped")
	if figures.Stop, err = s.spend(ctx, next, func() error {
		return parallel(8, b.objects, func(i int) error { return s.stop(ctx, i) })
	}, s.notebooksIn(v1alpha1.NotebookStopped, b.objects)); err != nil {
		return nil, err
	}
	figures.print(b)
	return figures, nil
}

func (f *objectFigures) print(b *bench) {
	for _, one := range []struct {
		what string
		spent
	}{
		{"until all notebooks are Ready", f.Notebooks}, {"until all kernels are Ready", f.Kernels}, {"at rest", f.Rest},
		{"after the leader's end", f.Restart}, {"until all are Stopped", f.Stop},
	} {
		b.say("  %-30s %6.1f s, CPU %6.2f s, %6.0f reads, %6.0f writes", one.what, one.Seconds, one.CPU, one.Reads, one.Writes)
		for _, a := range one.Asked {
			b.say("    %6.0f %s %s", a.Count, a.Verb, a.Resource)
		}
	}
	b.say("  resident %.0f MB empty, %.0f MB full", f.Empty.RSS/1e6, f.Full.RSS/1e6)
}

// newObjectSite starts all but the service.
func newObjectSite(ctx context.Context, b *bench) (_ *objectSite, _ *standIn, err error) {
	s := &objectSite{b: b}
	s.env = apiserver.Environment(filepath.Join(b.source, "charts", "elastichub", "crds"))
	s.env.CRDInstallOptions.MaxTime = time.Minute
	flags := s.env.ControlPlane.GetAPIServer().Configure()
	flags.Set("service-cluster-ip-range", "10.0.0.0/16") // a Service for each notebook
	if s.notes, err = newAudit(filepath.Join(b.dir, "audit"), func(flag, value string) { flags.Set(flag, value) }); err != nil {
		return nil, nil, err
	}
	config, err := s.env.Start()
	if err != nil {
		return nil, nil, fmt.Errorf("API server: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.env.Stop())
		}
	}()
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), clientgoscheme.AddToScheme(scheme)); err != nil {
		return nil, nil, err
	}
	config.QPS, config.Burst = 2000, 4000
	if s.api, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, nil, err
	}
	if s.cached, err = cache.New(config, cache.Options{Scheme: scheme, DefaultNamespaces: map[string]cache.Config{siteNamespace: {}}}); err != nil {
		return nil, nil, err
	}
	if err := s.configure(ctx); err != nil {
		return nil, nil, err
	}
	for _, o := range []client.Object{&v1alpha1.JupyterNotebook{}, &v1alpha1.JupyterKernel{}, &corev1.Service{}} {
		if _, err := s.cached.GetInformer(ctx, o, cache.BlockUntilSynced(false)); err != nil {
			return nil, nil, err
		}
	}
	node, err := newStandIn(ctx, s.api, s.cached)
	if err != nil {
		return nil, nil, err
	}
	go func() { _ = s.cached.Start(ctx) }()
	if !s.cached.WaitForCacheSync(ctx) {
		return nil, nil, ctx.Err()
	}
	return s, node, nil
}

// configure writes what the service reads, and starts Kubernetes' own controllers.
func (s *objectSite) configure(ctx context.Context) error {
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: siteNamespace}},
		&v1alpha1.JupyterKernelSpec{ObjectMeta: meta(siteSpec), Spec: v1alpha1.JupyterKernelSpecSpec{Language: "python", DisplayName: "Bench", Image: "bench"}},
		&v1alpha1.JupyterGateway{ObjectMeta: meta(siteGateway), Spec: v1alpha1.JupyterGatewaySpec{Kernels: []string{siteSpec}, CullIdleTimeout: new(int32(0))}},
	} {
		if err := s.api.Create(ctx, o); err != nil {
			return err
		}
	}
	dir := filepath.Join(s.b.dir, "objects")
	seed := base64.StdEncoding.EncodeToString(make([]byte, 32))
	kubeconfig := filepath.Join(dir, "kubeconfig")
	for name, content := range map[string]string{
		"kubeconfig": string(s.env.KubeConfig), "seed": seed, "token": strings.Repeat("b", 48),
		"config.yaml": fmt.Sprintf(`namespace: %s
hubAPI: {tokenFile: %[2]s/token}
signing: {seedFile: %[2]s/seed}
groups: {hub: {sent: true}}
notebooks: {image: "notebook:1", gateway: %[3]s}
kernels: {serviceImage: "elastichub:1", image: "kernel:1"}
`, siteNamespace, dir, siteGateway),
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			return err
		}
	}
	s.config = []string{"--config", filepath.Join(dir, "config.yaml")}
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	s.theirs, err = s.b.start("kube-controller-manager", nil, filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kube-controller-manager"),
		"--kubeconfig="+kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", ports[0]), "--cert-dir="+filepath.Join(dir, "controllers"),
		"--controllers=deployment-controller,replicaset-controller,garbage-collector-controller",
		"--kube-api-qps=2000", "--kube-api-burst=4000", "--concurrent-deployment-syncs=10", "--concurrent-replicaset-syncs=10")
	return err
}

// replica starts one of the service.
func (s *objectSite) replica(ctx context.Context) (*replica, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	p, err := s.b.start("serve", []string{
		"KUBECONFIG=" + filepath.Join(s.b.dir, "objects", "kubeconfig"),
		fmt.Sprintf("ELASTICHUB_HUBAPI_LISTEN=127.0.0.1:%d", ports[0]), fmt.Sprintf("ELASTICHUB_METRICS_LISTEN=127.0.0.1:%d", ports[1]),
	}, slices.Concat([]string{"env", "-u", "ELASTICHUB_CACHE"}, s.b.elastichub("serve"), s.config)...) // it takes no setting that it does not know
	if err != nil {
		return nil, err
	}
	r := &replica{process: p, metrics: fmt.Sprintf("http://127.0.0.1:%d/metrics", ports[1])}
	return r, p.until(time.Minute, func() error { return get(ctx, fmt.Sprintf("http://127.0.0.1:%d/readyz", ports[0]), nil) })
}

func (s *objectSite) notebook(i int) *v1alpha1.JupyterNotebook {
	return &v1alpha1.JupyterNotebook{ObjectMeta: meta(fmt.Sprintf("notebook-%d", i)), Spec: v1alpha1.JupyterNotebookSpec{
		User: fmt.Sprintf("user-%d", i), Gateway: &corev1.ObjectReference{Name: siteGateway}}}
}

// kernel is what a gateway writes for the notebook of that number.
func (s *objectSite) kernel(i int) *v1alpha1.JupyterKernel {
	k := &v1alpha1.JupyterKernel{ObjectMeta: meta(newID())}
	k.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelGateway: siteGateway, v1alpha1.LabelNotebook: s.notebook(i).Name}
	k.Spec = v1alpha1.JupyterKernelCRDSpec{Gateway: siteGateway, KernelSpec: siteSpec, User: fmt.Sprintf("user-%d", i), Notebook: s.notebook(i).Name, Run: 1}
	return k
}

// spend has something done, and tells what the replica spent until it is so.
func (s *objectSite) spend(ctx context.Context, r *replica, do func() error, is func(context.Context) error) (spent, error) {
	before, err := r.spent(ctx)
	if err != nil {
		return spent{}, err
	}
	end, err := s.notes.end()
	if err != nil {
		return spent{}, err
	}
	began := time.Now()
	if err := do(); err != nil {
		return spent{}, err
	}
	if err := r.until(5*time.Minute, func() error { return is(ctx) }); err != nil {
		return spent{}, err
	}
	all, err := r.since(ctx, before, began)
	if err != nil {
		return spent{}, err
	}
	all.Asked, err = s.notes.since(end, "elastichub")
	return all, err
}

// rest tells what a replica spends on nothing.
func (s *objectSite) rest(ctx context.Context, r *replica) (spent, error) {
	return s.spend(ctx, r, func() error {
		time.Sleep(objectsRest)
		return ctx.Err()
	}, func(context.Context) error { return nil })
}

// spent is all that a replica has spent so far.
func (r *replica) spent(ctx context.Context) (spent, error) {
	var page []byte
	if err := get(ctx, r.metrics, &page); err != nil {
		return spent{}, err
	}
	all := spent{CPU: r.cpu().Seconds()}
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "rest_client_requests_total{") {
			continue
		}
		labels, value, _ := strings.Cut(line, "} ")
		var n float64
		if _, err := fmt.Sscan(value, &n); err != nil {
			return spent{}, fmt.Errorf("%s: %w", line, err)
		}
		if strings.Contains(labels, `method="GET"`) {
			all.Reads += n
		} else {
			all.Writes += n
		}
	}
	return all, nil
}

func (r *replica) since(ctx context.Context, before spent, began time.Time) (spent, error) {
	now, err := r.spent(ctx)
	return spent{Seconds: round(time.Since(began).Seconds(), 1), CPU: round(now.CPU-before.CPU, 2), Reads: now.Reads - before.Reads, Writes: now.Writes - before.Writes}, err
}

func (s *objectSite) gatewayReady(ctx context.Context) error {
	var gw v1alpha1.JupyterGateway
	if err := s.api.Get(ctx, types.NamespacedName{Namespace: siteNamespace, Name: siteGateway}, &gw); err != nil {
		return err
	}
	if gw.Status.ReadyReplicas == 0 {
		return errors.New("the gateway is not ready")
	}
	return nil
}

// notebooksIn is satisfied when n notebooks are in that phase.
func (s *objectSite) notebooksIn(phase v1alpha1.NotebookPhase, n int) func(context.Context) error {
	return func(ctx context.Context) error {
		var all v1alpha1.JupyterNotebookList
		if err := s.cached.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
			return err
		}
		found := 0
		for i := range all.Items {
			if all.Items[i].Status.Phase == phase {
				found++
			}
		}
		if found < n {
			return fmt.Errorf("%d of %d notebooks are %s", found, n, phase)
		}
		return nil
	}
}

func (s *objectSite) kernelsReady(ctx context.Context) error {
	var all v1alpha1.JupyterKernelList
	if err := s.cached.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	found, other := 0, ""
	for i := range all.Items {
		if all.Items[i].Status.Phase == v1alpha1.KernelReady {
			found++
		} else {
			other = string(all.Items[i].Status.Phase) + ": " + all.Items[i].Status.Message
		}
	}
	if found < s.b.objects {
		return fmt.Errorf("%d of %d kernels are Ready; another is %s", found, s.b.objects, other)
	}
	return nil
}

// kill ends a leader without a word, and changes what nobody sees then.
func (s *objectSite) kill(ctx context.Context, leader *replica) error {
	if err := leader.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-leader.done
	missed := s.b.objects / objectsMissed
	return parallel(8, missed, func(i int) error {
		lost := &corev1.Service{ObjectMeta: meta(s.notebook(missed + i).Name)}
		return errors.Join(s.stop(ctx, i), s.api.Delete(ctx, lost))
	})
}

// missedRight is satisfied when what kill has changed has its consequences.
func (s *objectSite) missedRight(ctx context.Context) error {
	missed := s.b.objects / objectsMissed
	if err := s.notebooksIn(v1alpha1.NotebookStopped, missed)(ctx); err != nil {
		return err
	}
	for i := range missed {
		var made corev1.Service
		name := types.NamespacedName{Namespace: siteNamespace, Name: s.notebook(missed + i).Name}
		if err := s.cached.Get(ctx, name, &made); apierrors.IsNotFound(err) {
			return fmt.Errorf("there is no Service %s", name.Name)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// stop is what somebody does with kubectl.
func (s *objectSite) stop(ctx context.Context, i int) error {
	return s.api.Patch(ctx, s.notebook(i), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"stopped":true}}`)))
}
