package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/spawner/homes"
)

// TestHomesAreListed: what is not known is said to be unknown, such as what is used of a volume
// whose file system is larger than its claim.
func TestHomesAreListed(t *testing.T) {
	noon := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	home := func(user string, change func(*homes.Home)) homes.Home {
		h := homes.Home{User: user, Standing: homes.Present, Claim: &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
			Namespace: "hub", Name: "claim-" + user, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}, Annotations: map[string]string{},
		}}}
		h.Claim.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}
		change(&h)
		return h
	}
	found := []homes.Home{
		home("bob", func(h *homes.Home) {
			h.Standing, h.Reason = homes.Left, homes.HubUserGone
			h.Claim.Annotations[v1alpha1.AnnotationUserGone] = "2026-03-01T12:00:00Z"
			h.ByPerson, h.LastUse, h.Servers = true, noon.Add(-48*time.Hour), []string{"jupyter-bob"}
		}),
		home("ann", func(h *homes.Home) {
			h.Mounted, h.Running, h.Servers = true, []string{"jupyter-ann"}, []string{"jupyter-ann"}
		}),
		home("cy", func(h *homes.Home) { h.Mounted, h.Standing = true, homes.Unknown }),
	}
	used := map[string]int64{}
	addUsed(used, []byte(`{"pods": [{"volume": [
		{"usedBytes": 3221225472, "capacityBytes": 10500000000, "pvcRef": {"name": "claim-ann", "namespace": "hub"}},
		{"usedBytes": 900000000000, "capacityBytes": 2000000000000, "pvcRef": {"name": "claim-cy", "namespace": "hub"}},
		{"usedBytes": 1, "capacityBytes": 2, "pvcRef": {"name": "claim-bob", "namespace": "other"}},
		{"usedBytes": 1}
	]}]}`), "hub", found)
	var out bytes.Buffer
	cfg := homes.Config{Mode: homes.Remove, Grace: 30 * 24 * time.Hour}
	require.NoError(t, writeHomes(&out, found, used, cfg, true))
	assert.Equal(t, `USER   HOME        SIZE   USED      LAST USE               USER IS                            SERVER                   FATE
ann    claim-ann   10Gi   3.0 GiB   now                    present                            jupyter-ann runs         
bob    claim-bob   10Gi   unknown   2026-02-28T12:00:00Z   left, noted 2026-03-01T12:00:00Z   jupyter-bob is stopped   It is removed after 2026-03-31T12:00:00Z, if that stays so.
cy     claim-cy    10Gi   unknown   now                    unknown                            none                     
3 homes, 1 of people who left or may have.
`, out.String())
}
