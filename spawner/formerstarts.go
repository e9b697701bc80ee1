package spawner

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Requests of a Hub may arrive late and in another order than they were sent: it gives
// them up after some seconds, while a proxy or a busy service still holds them. Which
// start is the newest is known by those that were before it.

// maxFormerStarts bounds the annotation. A Hub has given up a request long before it has
// started the server so many times more.
const maxFormerStarts = 8

const startSeparator = ","

func isFormerStart(nb *v1alpha1.JupyterNotebook, start string) bool {
	return slices.Contains(strings.Split(nb.Annotations[v1alpha1.AnnotationFormerStarts], startSeparator), start)
}

// formerStarts is the annotation with one more start.
func formerStarts(nb *v1alpha1.JupyterNotebook, start string) string {
	starts := []string{start}
	for former := range strings.SplitSeq(nb.Annotations[v1alpha1.AnnotationFormerStarts], startSeparator) {
		if former != "" && former != start && len(starts) < maxFormerStarts {
			starts = append(starts, former)
		}
	}
	return strings.Join(starts, startSeparator)
}

// noteFormerStart has a start that is not the server's begin nothing when its request comes.
func (s *Service) noteFormerStart(ctx context.Context, nb *v1alpha1.JupyterNotebook, start string) error {
	if isFormerStart(nb, start) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{v1alpha1.AnnotationFormerStarts: formerStarts(nb, start)},
	}})
	if err != nil {
		return err
	}
	if err := s.client.Patch(ctx, nb, client.RawPatch(types.MergePatchType, patch)); err != nil {
		if apierrors.IsNotFound(err) {
			return ErrNotFound
		}
		return fmt.Errorf("note a former start: %w", err)
	}
	s.snapshot.put(nb)
	return nil
}
