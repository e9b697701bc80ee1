package recheck

import (
	"context"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// On has a controller look at what list names whenever something comes on changed.
func On(changed <-chan struct{}, list func(context.Context) []reconcile.Request) source.Source {
	return source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		go func() { // ends with the controller
			for {
				select {
				case <-ctx.Done():
					return
				case <-changed:
					for _, request := range list(ctx) {
						queue.Add(request)
					}
				}
			}
		}()
		return nil
	})
}
