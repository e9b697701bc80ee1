package spawner

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Whoever writes `stopped: false` into a manifest and applies that on the server owns the
// field. An automatic stop writes it, too, and would be told as a conflict at the next
// apply. So a stop does not keep what was somebody's: that apply starts the server, as one
// by the client does, and one without the field leaves it alone.

// stoppedIsApplied tells that somebody's manifest has spec.stopped.
func (c *controller) stoppedIsApplied(ctx context.Context, nb *v1alpha1.JupyterNotebook) (bool, error) {
	now := &metav1.PartialObjectMetadata{}
	now.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("JupyterNotebook"))
	if err := c.live.Get(ctx, client.ObjectKeyFromObject(nb), now); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("read notebook: %w", err)
	}
	return slices.ContainsFunc(now.ManagedFields, func(m metav1.ManagedFieldsEntry) bool {
		return m.Operation == metav1.ManagedFieldsOperationApply && hasStopped(m)
	}), nil
}

type managedFields struct {
	Spec map[string]json.RawMessage `json:"f:spec"`
}

func hasStopped(m metav1.ManagedFieldsEntry) bool {
	var fields managedFields
	if m.FieldsV1 == nil || json.Unmarshal(m.FieldsV1.GetRawBytes(), &fields) != nil {
		return false
	}
	_, has := fields.Spec["f:stopped"]
	return has
}

// disownStopped gives up our part in spec.stopped of a server that was just stopped.
func (c *controller) disownStopped(ctx context.Context, nb *v1alpha1.JupyterNotebook) error {
	managed := slices.Clone(nb.ManagedFields)
	for i, m := range managed {
		if m.Manager != stopManager || !hasStopped(m) {
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(m.FieldsV1.GetRawBytes(), &fields); err != nil {
			return fmt.Errorf("read managed fields: %w", err)
		}
		delete(fields, "f:spec") // there is nothing else of ours in it
		rest, err := json.Marshal(fields)
		if err != nil {
			return fmt.Errorf("write managed fields: %w", err)
		}
		managed[i].FieldsV1 = &metav1.FieldsV1{}
		managed[i].FieldsV1.SetRawBytes(rest)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": nb.UID, "resourceVersion": nb.ResourceVersion, "managedFields": managed,
	}})
	if err != nil {
		return fmt.Errorf("write managed fields: %w", err)
	}
	if err := c.client.Patch(ctx, nb, client.RawPatch(types.MergePatchType, patch)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("disown spec.stopped: %w", err)
	}
	return nil
}
