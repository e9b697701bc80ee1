package prepull

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/prepull/imagestate"
)

// gathering is how long changes are gathered before they are looked at: Pods tell of many.
const gathering = time.Second / 2

// SetupWithManager adds the controller, which runs on the leader. Without cfg.Enabled it
// removes what was made before, and ends.
func SetupWithManager(mgr manager.Manager, cfg Config, devices Devices, registry prometheus.Registerer) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("prepull: %w", err)
	}
	m, err := newMetrics(registry)
	if err != nil {
		return err
	}
	r := &reconciler{cfg: cfg, client: mgr.GetClient(), live: mgr.GetAPIReader(), devices: devices, metrics: m, now: time.Now}
	everything := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: cfg.Namespace, Name: cfg.Name}}
	b := ctrl.NewControllerManagedBy(mgr).Named("prepull").
		WatchesRawSource(source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			queue.Add(everything)
			return nil
		}))
	if cfg.Enabled {
		soon := laterOn(everything)
		here := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetNamespace() == cfg.Namespace })
		for _, kind := range []client.Object{&v1alpha1.GroupPolicy{}, &v1alpha1.JupyterGateway{}, &v1alpha1.JupyterKernelSpec{}, &v1alpha1.JupyterKernelTemplate{}} {
			b = b.Watches(kind, soon, builder.WithPredicates(here, predicate.GenerationChangedPredicate{}))
		}
		b = b.Watches(&corev1.Pod{}, soon, builder.WithPredicates(here, predicate.NewPredicateFuncs(func(o client.Object) bool {
			return o.GetLabels()[imagestate.LabelPlacement] != ""
		})))
	}
	if err := b.Complete(r); err != nil {
		return fmt.Errorf("prepull: %w", err)
	}
	return nil
}

// laterOn asks for the one request a little later: once for all that happens until then.
func laterOn(everything reconcile.Request) handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	return handler.Funcs{
		CreateFunc: func(_ context.Context, _ event.CreateEvent, q queue) { q.AddAfter(everything, gathering) },
		UpdateFunc: func(_ context.Context, _ event.UpdateEvent, q queue) { q.AddAfter(everything, gathering) },
		DeleteFunc: func(_ context.Context, _ event.DeleteEvent, q queue) { q.AddAfter(everything, gathering) },
	}
}
