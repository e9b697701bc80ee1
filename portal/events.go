package portal

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/holdings"
)

// mostEvents bounds what is told of one object's events.
const mostEvents = 30

// eventsOf reads what happened to an object and to its present Pod. Events are not in
// the cache: they are many, and few are looked at.
func (p *Portal) eventsOf(r *request, o client.Object, pod string, start []v1alpha1.NotebookProgress) ([]holdings.Event, error) {
	var told []corev1.Event
	for _, selector := range holdings.EventSelectors(o, pod) {
		var list corev1.EventList
		err := p.deps.Live.List(r.Context(), &list, client.InNamespace(p.config.Namespace), client.Limit(holdings.MostRead),
			client.MatchingFieldsSelector{Selector: selector})
		if err != nil {
			return nil, err
		}
		told = append(told, list.Items...)
	}
	return holdings.EventsOf(told, start, mostEvents), nil
}

func (p *Portal) eventsOfKernel(r *request) error {
	o, _, _, err := p.kernelOf(r)
	if err != nil {
		return err
	}
	events, err := p.eventsOf(r, o, o.Status.PodName, nil)
	if err != nil {
		return err
	}
	return r.json(items[holdings.Event]{events})
}

func (p *Portal) eventsOfServer(r *request) error {
	o, _, _, err := p.serverOf(r)
	if err != nil {
		return err
	}
	events, err := p.eventsOf(r, o, o.Status.PodName, o.Status.Progress)
	if err != nil {
		return err
	}
	return r.json(items[holdings.Event]{events})
}
