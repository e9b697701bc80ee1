//go:build e2e

package panels

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pooled is a policy with a pool of GPUs, which none of the demo's has.
const pooled = `
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: GroupPolicy
metadata: {name: panels}
spec:
  groups: [nobody-at-all]
  cpu: {min: 500m, max: "1", step: 500m, default: 500m}
  memory: {min: 512Mi, max: 1Gi, step: 512Mi, default: 512Mi}
  images: [{id: any, displayName: Any, image: example.org/any}]
  kernels: {allowed: [python-gpu], gpusPerKernel: 1, gpusPerUser: 1, gpuPool: 4}
`

// TestNoPanelIsEmpty: while somebody starts a server and a kernel with a GPU, all that tells
// metrics is read every few seconds, and then each query of each dashboard gives numbers.
func TestNoPanelIsEmpty(t *testing.T) {
	d := running(t)
	p, err := Open(t.TempDir())
	require.NoError(t, err)
	defer func() { assert.NoError(t, p.Close()) }()

	const user = "researcher"
	_, err = d.run(t.Context(), pooled, "apply", "-f", "-")
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = d.run(context.Background(), "", "delete", "grouppolicy", "panels") })
	hub := func(method, path string, into any) int {
		status, err := d.ask(t.Context(), method, "/hub/api"+path, d.token, map[string]any{}, into)
		require.NoError(t, err)
		return status
	}
	servers := func() map[string]struct{ Ready bool } {
		var model struct {
			Servers map[string]struct{ Ready bool }
		}
		require.Equal(t, 200, hub("GET", "/users/"+user, &model))
		return model.Servers
	}
	require.Contains(t, []int{201, 409}, hub("POST", "/users/"+user, nil))
	hub("DELETE", "/users/"+user+"/server", nil)
	require.Eventually(t, func() bool { return len(servers()) == 0 }, 2*time.Minute, time.Second)
	t.Cleanup(func() {
		_, _ = d.ask(context.Background(), "DELETE", "/hub/api/users/"+user+"/server", d.token, map[string]any{}, nil)
	})
	var made struct{ ID, Token string }
	require.Equal(t, 201, hub("POST", "/users/"+user+"/tokens", &made))
	t.Cleanup(func() {
		_, _ = d.ask(context.Background(), "DELETE", "/hub/api/users/"+user+"/tokens/"+made.ID, d.token, map[string]any{}, nil)
	})

	begin := time.Now()
	look := func() {
		require.NoError(t, d.scrape(t.Context(), p))
	}
	look()
	require.Contains(t, []int{201, 202}, hub("POST", "/users/"+user+"/server", nil))
	require.Eventually(t, func() bool {
		look()
		return servers()[""].Ready
	}, 3*time.Minute, time.Second)
	console, err := d.ask(t.Context(), "GET", "/services/elastichub/api/v1/me/kernels", made.Token, nil, nil)
	require.NoError(t, err)
	require.Less(t, console, 500)
	var kernel struct{ ID string }
	status, err := d.ask(t.Context(), "POST", "/user/"+user+"/api/kernels", made.Token, map[string]any{"name": "python-gpu"}, &kernel)
	require.NoError(t, err)
	require.Equal(t, 201, status)
	ready := func() bool {
		out, err := d.run(t.Context(), "", "get", "jupyterkernel", kernel.ID, "-o", "jsonpath={.status.phase}")
		return err == nil && string(out) == "Ready"
	}
	require.Eventually(t, func() bool {
		look()
		return ready()
	}, 3*time.Minute, time.Second)
	for range 4 { // what it holds is booked each second
		time.Sleep(2 * time.Second)
		look()
	}

	at := time.Now()
	panels, err := Dashboards(chart+"/monitoring/dashboards", Variables(d.namespace, at.Sub(begin)+time.Minute))
	require.NoError(t, err)
	asked := 0
	for _, panel := range panels {
		for _, query := range panel.Queries {
			numbers, err := p.Query(t.Context(), query, at)
			if assert.NoError(t, err, "%s: %s", panel.Dashboard, panel.Title) {
				assert.NotEmpty(t, numbers, "%s: %s: %s", panel.Dashboard, panel.Title, query)
				asked++
			}
		}
	}
	t.Logf("%d queries of %d panels, %s after the first look", asked, len(panels), at.Sub(begin).Round(time.Second))

	// What people are shown of themselves is whose it is.
	numbers, err := p.Query(t.Context(), `sum by (annotation_hub_jupyter_org_username) (kube_pod_annotations{namespace="`+d.namespace+`"})`, at)
	require.NoError(t, err)
	var users []string
	for _, n := range numbers {
		users = append(users, n.Metric.Get("annotation_hub_jupyter_org_username"))
	}
	assert.Contains(t, users, user)
	numbers, err = p.Query(t.Context(), `elastichub_policy_held_devices{policy="ml-research"}`, at)
	require.NoError(t, err)
	require.Len(t, numbers, 1)
	assert.Equal(t, 1., numbers[0].F)

	// The API server ranks the service's requests by the schema of the chart. It tells so of a
	// request that is made in the name of the service's account.
	account := "system:serviceaccount:" + d.namespace + ":elastichub"
	uid, err := d.run(t.Context(), "", "get", "flowschema", d.namespace+"-elastichub", "-o", "jsonpath={.metadata.uid}")
	require.NoError(t, err)
	told, err := d.flowSchema(t.Context(), account)
	require.NoError(t, err)
	assert.Contains(t, told, string(uid))
}
