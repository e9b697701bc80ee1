package queue

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/setaside"
)

// policyUse is the part of a GroupPolicy's status that this package writes.
type policyUse struct {
	Kernels int32 `json:"kernels"`
	GPUs    int32 `json:"gpus"`
	Queued  int32 `json:"queued"`
}

// usesAfter is the use of every policy once a decision is carried out. GPUs
// count where their pool is, kernels at the user's first policy.
func usesAfter(s *survey, d admission.Decision) map[string]policyUse {
	uses := map[string]policyUse{}
	add := func(policies []string, holds admission.Resources) {
		name := firstExisting(policies, s.input.Policies)
		u := uses[name]
		u.Kernels++
		uses[name] = u
		for resource, n := range holds {
			giver := admission.Giver(resource, policies, s.input.Policies)
			u := uses[giver]
			u.GPUs += int32(n)
			uses[giver] = u
		}
	}
	for _, h := range s.input.Holders {
		add(h.Policies, h.Holds)
	}
	for name, n := range s.waiting {
		u := uses[name]
		u.Queued += n
		uses[name] = u
	}
	for _, id := range d.Admit {
		k := s.kernels[id]
		add(k.Spec.Policies, s.wants[id])
		leftQueue(uses, k)
	}
	for id := range d.Refuse {
		leftQueue(uses, s.kernels[id])
	}
	return uses
}

func leftQueue(uses map[string]policyUse, k *v1alpha1.JupyterKernel) {
	name := firstPolicy(k.Spec.Policies)
	u := uses[name]
	u.Queued--
	uses[name] = u
}

func firstExisting(names []string, policies map[string]admission.Policy) string {
	for _, name := range names {
		if _, ok := policies[name]; ok {
			return name
		}
	}
	return ""
}

// reportUse writes the use of each policy that has changed, and no other field:
// the count of servers is not ours.
func (a *admitter) reportUse(ctx context.Context, s *survey, d admission.Decision) error {
	uses := usesAfter(s, d)
	for i := range s.policies {
		p := &s.policies[i]
		use := uses[p.Name]
		if (policyUse{p.Status.Kernels, p.Status.GPUs, p.Status.Queued}) == use {
			continue
		}
		body, err := json.Marshal(map[string]policyUse{"status": use})
		if err != nil {
			return fmt.Errorf("kernels: encode use: %w", err)
		}
		err = a.client.Status().Patch(ctx, p, client.RawPatch(types.MergePatchType, body))
		if err = setaside.Tell(ctx, a.client, p, err); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("kernels: write use of policy %s: %w", p.Name, err)
		}
	}
	return nil
}

// measure sets the gauges.
func (a *admitter) measure(s *survey, d admission.Decision) {
	held := admission.Resources{}
	for _, h := range s.input.Holders {
		for name, n := range h.Holds {
			held[name] += n
		}
	}
	for _, id := range d.Admit {
		for name, n := range s.wants[id] {
			held[name] += n
		}
	}
	a.meters.held.Reset()
	for name, n := range held {
		a.meters.held.WithLabelValues(name).Set(float64(n))
	}
	var waiting int32
	for _, n := range s.waiting {
		waiting += n
	}
	waiting -= int32(len(d.Admit) + len(d.Refuse))
	a.meters.queueLength.Set(float64(waiting))
	a.meters.setWaiting(d, waiting)
	a.meters.queueOldest.Set(0)
	if waiting > 0 && !s.oldest.IsZero() {
		a.meters.queueOldest.Set(max(a.now().Sub(s.oldest).Seconds(), 0))
	}
}
