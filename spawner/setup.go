package spawner

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	runtimecontroller "sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/recheck"
	"github.com/elastichub/elastichub/tokens"
)

// workers reconcile in parallel; a pass takes a few API calls.
const workers = 8

// SetupWithManager adds the JupyterNotebook controller, which runs on the
// leader, to the manager whose client the Service has. Its cache must hold the Config's Scope. hub is nil
// where none may be asked: then servers are stopped without it, and only it starts those of its own.
func (s *Service) SetupWithManager(mgr manager.Manager, issuer *tokens.Issuer, asker Asker, hub Hub, registry prometheus.Registerer) error {
	cfg := s.cfg
	clientset, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("spawner: %w", err)
	}
	events, err := eventInformers(clientset, cfg.scope())
	if err != nil {
		return fmt.Errorf("spawner: %w", err)
	}
	for _, informer := range events {
		if err := mgr.Add(leaderInformer{informer}); err != nil {
			return fmt.Errorf("spawner: %w", err)
		}
	}
	met, err := newMetrics(registry, countServers(mgr, cfg.scope()))
	if err != nil {
		return fmt.Errorf("spawner: %w", err)
	}
	c := &controller{
		cfg: cfg, client: mgr.GetClient(), live: mgr.GetAPIReader(), issuer: issuer,
		slots: s.slots,
		asker: asker, asking: make(chan struct{}, questions), events: eventsAbout(events...), met: met, now: time.Now,
		hub: hub, hubCalls: make(chan struct{}, hubCalls), recorder: health.NewRecorder(mgr),
	}
	if err := mgr.Add(slotSweeper{c.slots}); err != nil {
		return fmt.Errorf("spawner: %w", err)
	}
	build := ctrl.NewControllerManagedBy(mgr).
		Named("jupyternotebook").
		For(&v1alpha1.JupyterNotebook{}).
		Owns(&appsv1.Deployment{}).
		Owns(&corev1.Service{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(byLabel)).
		Watches(&corev1.PersistentVolumeClaim{}, handler.EnqueueRequestsFromMapFunc(c.byClaim)).
		Watches(&v1alpha1.JupyterGateway{}, handler.EnqueueRequestsFromMapFunc(c.byGateway), builder.WithPredicates(predicate.Funcs{UpdateFunc: availabilityChanged})).
		Watches(&v1alpha1.JupyterKernel{}, handler.EnqueueRequestsFromMapFunc(byNotebook), builder.WithPredicates(predicate.Funcs{UpdateFunc: holdingChanged})).
		Watches(&v1alpha1.GroupPolicy{}, handler.EnqueueRequestsFromMapFunc(c.byPolicy), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(runtimecontroller.Options{MaxConcurrentReconciles: workers})
	build = build.WatchesRawSource(recheck.On(issuer.Changed(), c.signAnew))
	for _, informer := range events {
		if err := c.pulls.follow(informer); err != nil {
			return fmt.Errorf("spawner: %w", err)
		}
		build = build.WatchesRawSource(eventSource(informer, mgr.GetClient()))
	}
	return build.Complete(cfg.Owner.Guard(c))
}

// slotSweeper runs on the leader.
type slotSweeper struct{ slotStore }

func (s slotSweeper) NeedLeaderElection() bool { return true }

func (s slotSweeper) Start(ctx context.Context) error {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.sweep(ctx); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "cannot sweep server slots")
			}
		}
	}
}

// byLabel leads from what a notebook's Pods and claims bear to the notebook.
func byLabel(_ context.Context, object client.Object) []reconcile.Request {
	labels := object.GetLabels()
	name := labels[v1alpha1.LabelNotebook]
	if name == "" || labels[v1alpha1.LabelComponent] != v1alpha1.ComponentNotebook {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: name}}}
}

// byClaim leads from a home claim to its notebook, and from one that static homes are in to
// those that wait for it.
func (c *controller) byClaim(ctx context.Context, claim client.Object) []reconcile.Request {
	if own := byLabel(ctx, claim); own != nil {
		return own
	}
	return c.notebooksWhere(ctx, func(nb *v1alpha1.JupyterNotebook) bool {
		waits := nb.Status.Phase == v1alpha1.NotebookPending || nb.Status.Phase == v1alpha1.NotebookStarting
		return waits && !nb.Spec.Stopped && nb.Namespace == claim.GetNamespace() && nb.HomeClaim() == claim.GetName() && nb.Spec.Storage.Home.Static != nil
	})
}

// byNotebook leads from a kernel to its notebook, whose idle time it holds up.
func byNotebook(_ context.Context, object client.Object) []reconcile.Request {
	k, ok := object.(*v1alpha1.JupyterKernel)
	if !ok || k.Spec.Notebook == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: k.Namespace, Name: k.Spec.Notebook}}}
}

func holdingChanged(e event.UpdateEvent) bool {
	old, ok1 := e.ObjectOld.(*v1alpha1.JupyterKernel)
	current, ok2 := e.ObjectNew.(*v1alpha1.JupyterKernel)
	return ok1 && ok2 && old.HasPodOrWaits() != current.HasPodOrWaits()
}

// byPolicy leads from a policy to the servers that were started under it.
func (c *controller) byPolicy(ctx context.Context, policy client.Object) []reconcile.Request {
	return c.notebooksWhere(ctx, func(nb *v1alpha1.JupyterNotebook) bool {
		return policy.GetNamespace() == c.cfg.Namespace && nb.Spec.ImageChannel != "" && !nb.Spec.Stopped && nb.Spec.KernelOptions != nil &&
			slices.Contains(nb.Spec.KernelOptions.Policies, policy.GetName())
	})
}

// signAnew leads to the notebooks that run, whose Secrets have tokens of another key now.
func (c *controller) signAnew(ctx context.Context) []reconcile.Request {
	requests := c.notebooksWhere(ctx, func(nb *v1alpha1.JupyterNotebook) bool { return !nb.Spec.Stopped })
	for _, request := range requests {
		c.looked.soon(request.NamespacedName)
	}
	return requests
}

// byGateway leads from a gateway to the notebooks whose status speaks of it.
func (c *controller) byGateway(ctx context.Context, gateway client.Object) []reconcile.Request {
	return c.notebooksWhere(ctx, func(nb *v1alpha1.JupyterNotebook) bool {
		return nb.Spec.Gateway != nil && nb.GatewayKey() == client.ObjectKeyFromObject(gateway) && !nb.Spec.Stopped
	})
}

// availabilityChanged is true when a gateway has become ready or is so no more, or serves
// other namespaces;
// what else changes in its status concerns no notebook.
func availabilityChanged(e event.UpdateEvent) bool {
	old, ok1 := e.ObjectOld.(*v1alpha1.JupyterGateway)
	current, ok2 := e.ObjectNew.(*v1alpha1.JupyterGateway)
	return ok1 && ok2 && ((old.Status.ReadyReplicas == 0) != (current.Status.ReadyReplicas == 0) || !slices.Equal(old.Spec.AllowedNamespaces, current.Spec.AllowedNamespaces))
}

func (c *controller) notebooksWhere(ctx context.Context, is func(*v1alpha1.JupyterNotebook) bool) []reconcile.Request {
	var notebooks v1alpha1.JupyterNotebookList
	if err := c.cfg.scope().List(ctx, c.client, &notebooks, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list notebooks")
		return nil
	}
	var requests []reconcile.Request
	for i := range notebooks.Items {
		if is(&notebooks.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&notebooks.Items[i])})
		}
	}
	return requests
}

// eventSource leads from a Kubernetes event to the notebook of the Pod or
// claim it is about, both of which are cached.
func eventSource(informer cache.SharedIndexInformer, cached client.Reader) source.Source {
	return source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		enqueue := func(object any) {
			event, ok := object.(*corev1.Event)
			if !ok {
				return
			}
			var about client.Object
			switch event.InvolvedObject.Kind {
			case "Pod":
				about = &corev1.Pod{}
			case "PersistentVolumeClaim":
				about = &corev1.PersistentVolumeClaim{}
			default:
				return
			}
			key := client.ObjectKey{Namespace: event.InvolvedObject.Namespace, Name: event.InvolvedObject.Name}
			// Not there yet: its own arrival leads to a pass that finds the event.
			if err := cached.Get(ctx, key, about); err != nil {
				return
			}
			for _, request := range byLabel(ctx, about) {
				queue.Add(request)
			}
		}
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    enqueue,
			UpdateFunc: func(_, object any) { enqueue(object) },
		})
		return err
	})
}

// countServers gives nil while another replica leads.
func countServers(mgr manager.Manager, scope *namespaces.Scope) func() map[v1alpha1.NotebookPhase]int {
	return func() map[v1alpha1.NotebookPhase]int {
		select {
		case <-mgr.Elected():
		default:
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var notebooks v1alpha1.JupyterNotebookList
		if err := scope.List(ctx, mgr.GetClient(), &notebooks, client.UnsafeDisableDeepCopy); err != nil {
			return nil
		}
		counts := map[v1alpha1.NotebookPhase]int{}
		for i := range notebooks.Items {
			counts[stateOf(&notebooks.Items[i]).Phase]++
		}
		return counts
	}
}
