package gather

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/doctor"
	"github.com/elastichub/elastichub/namespaces"
)

// namespaces finds out which of the release's namespaces are missing, or another release's.
func (g *gatherer) namespaces(ctx context.Context) {
	others := watched(g.values, g.picture.Namespace)
	elsewhere, absent := map[string]string{}, []string{}
	for _, name := range append([]string{g.picture.Namespace}, others...) {
		if name == namespaces.Everywhere {
			continue
		}
		if name != g.picture.Namespace {
			err := g.api.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{})
			if apierrors.IsNotFound(err) {
				absent = append(absent, name)
				continue
			}
			if err != nil {
				g.unread("namespaces", err)
			}
		}
		var lease coordinationv1.Lease
		err := g.api.Get(ctx, client.ObjectKey{Namespace: name, Name: namespaces.LeaseName}, &lease)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			g.unread("leases", err)
		default:
			if holder := namespaces.HolderOf(&lease, time.Now()); holder != "" && holder != g.picture.Namespace {
				elsewhere[name] = holder
			}
		}
	}
	g.set(func(p *doctor.Picture) { p.Elsewhere, p.Absent = elsewhere, absent })
}
