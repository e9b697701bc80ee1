package removal

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// goneTime is how long removed objects have to be gone, what belongs to them included.
const goneTime = 30 * time.Second

// mostNamed bounds how many objects a sentence names.
const mostNamed = 5

// Remaining is an object that could not be removed.
type Remaining struct {
	Item
	Why string
}

// Remove removes what a plan says goes, in its order, and waits until it is gone. What cannot be
// removed is left, and named; the rest goes all the same, but for what is last.
func (s Site) Remove(ctx context.Context, p Plan) ([]Remaining, error) {
	left, err := s.removeAll(ctx, p.Goes)
	if err != nil {
		return left, err
	}
	if len(left) > 0 || len(p.Unknown) > 0 {
		for _, item := range p.Last {
			left = append(left, Remaining{item, "it goes when all else has gone, so that a removal that is repeated knows what belongs to the release"})
		}
		return left, nil
	}
	return s.removeAll(ctx, p.Last)
}

func (s Site) removeAll(ctx context.Context, items []Item) ([]Remaining, error) {
	var remaining []Remaining
	var going []Item
	for _, item := range items {
		uid := item.Object.UID
		err := s.API.Delete(ctx, item.Object.DeepCopy(), client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
		switch {
		case err == nil, apierrors.IsNotFound(err):
			going = append(going, item)
		case ctx.Err() != nil:
			return remaining, ctx.Err()
		default:
			remaining = append(remaining, Remaining{item, err.Error()})
		}
	}
	left, err := s.await(ctx, going)
	return append(remaining, left...), err
}

// await looks until objects are gone, and says what those wait for that are not.
func (s Site) await(ctx context.Context, going []Item) ([]Remaining, error) {
	for began := s.Now(); ; {
		var left []Remaining
		var still []Item
		for _, item := range going {
			now := &metav1.PartialObjectMetadata{}
			now.SetGroupVersionKind(item.Object.GroupVersionKind())
			err := s.API.Get(ctx, client.ObjectKeyFromObject(item.Object), now)
			switch {
			case apierrors.IsNotFound(err), err == nil && now.UID != item.Object.UID:
				s.Tell(item.String() + " is removed")
				continue
			case err != nil:
				left = append(left, Remaining{item, err.Error()})
			case len(now.Finalizers) > 0:
				left = append(left, Remaining{item, "it waits for what removes its finalizers: " + strings.Join(now.Finalizers, ", ")})
			default:
				left = append(left, Remaining{item, "it is not gone yet"})
			}
			still = append(still, item)
		}
		if going = still; len(going) == 0 || s.Now().Sub(began) > goneTime {
			return left, nil
		}
		if err := pause(ctx); err != nil {
			return left, err
		}
	}
}

// enumerate names some.
func enumerate(names []string) string {
	if more := len(names) - mostNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:mostNamed], ", "), more)
	}
	return strings.Join(names, ", ")
}
