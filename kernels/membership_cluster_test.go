package kernels

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
)

// directory is what users may have, as the test has it.
type directory struct {
	mu    sync.Mutex
	has   map[string][]string // policies
	fault error               // of every question
	asked map[string]int
}

func (d *directory) Allowance(_ context.Context, user string) (groups.Allowance, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked[user]++
	policies, known := d.has[user]
	switch {
	case d.fault != nil:
		return groups.Allowance{}, d.fault
	case !known:
		return groups.Allowance{}, fmt.Errorf("%w: %s", groups.ErrUnknownUser, user)
	case len(policies) == 0:
		return groups.Allowance{}, groups.ErrNoPolicy
	}
	return groups.Allowance{Policies: policies}, nil
}

func (d *directory) set(change func(d *directory)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

// notebook makes the server of a user, as the Hub starts it under policies.
func (c *cluster) notebook(name, user string, policies ...string) {
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: name}}
	nb.Spec = v1alpha1.JupyterNotebookSpec{
		User: user, Start: "s1", Gateway: &corev1.ObjectReference{Name: "gw"}, KernelOptions: &v1alpha1.KernelOptions{Policies: policies},
	}
	c.create(nb)
}

// fromGateway makes a kernel one that a gateway made for a notebook.
func fromGateway(notebook string, change ...func(*v1alpha1.JupyterKernel)) func(*v1alpha1.JupyterKernel) {
	return func(k *v1alpha1.JupyterKernel) {
		k.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
		k.Spec.Notebook = notebook
		for _, f := range change {
			f(k)
		}
	}
}

// TestWhatAGatewayWritesOfAUserIsNotBelieved: user, policies and idle time come
// from the notebook, or from the gateway's list of clients.
func TestWhatAGatewayWritesOfAUserIsNotBelieved(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw", func(gw *v1alpha1.JupyterGateway) {
		gw.Spec.Auth = &v1alpha1.GatewayAuth{Clients: []v1alpha1.GatewayClient{{Name: "batch", Policies: []string{"small"}}}}
	})
	c.gateway("other")
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.GPUSpec("cpu", 0),
		kerneltest.Policy("small", func(k *v1alpha1.PolicyKernels) { k.Allowed, k.IdleSeconds, k.PerUser = []string{"cpu"}, 60, 3 }),
		kerneltest.Policy("everything", func(k *v1alpha1.PolicyKernels) {
			k.Allowed, k.GPUsPerKernel, k.GPUsPerUser = []string{"gpu", "cpu"}, 8, 8
		}))
	c.notebook("nb", "alice", "small")

	refused := "The kernel \"gpu\" is not among spec.kernels.allowed of policy small."
	for name, k := range map[string]struct {
		change func(*v1alpha1.JupyterKernel)
		cause  v1alpha1.KernelCause
		says   string
	}{
		"other policies":     {fromGateway("nb", kerneltest.Owned("alice", "everything")), v1alpha1.CauseRefused, refused},
		"no policies":        {fromGateway("nb", kerneltest.Owned("alice")), v1alpha1.CauseRefused, refused},
		"another user":       {fromGateway("nb", kerneltest.Owned("root", "everything")), v1alpha1.CauseRefused, refused},
		"a client's":         {fromGateway("", kerneltest.Owned("batch", "everything")), v1alpha1.CauseRefused, refused},
		"nobody's":           {fromGateway("", kerneltest.Owned("mallory", "everything")), v1alpha1.CauseInvalid, `"mallory" is no client of the gateway gw`},
		"no user at all":     {fromGateway("", kerneltest.Owned("")), v1alpha1.CauseInvalid, `"" is no client of the gateway gw`},
		"of another gateway": {fromGateway("nb", func(k *v1alpha1.JupyterKernel) { k.Spec.Gateway = "other" }), v1alpha1.CauseInvalid, "nb does not use the gateway other"},
	} {
		id := "k" + fmt.Sprintf("%x", name)
		c.create(kerneltest.Kernel(id, "gw", "gpu", k.change))
		ended := c.phase(id, 1, v1alpha1.KernelDead)
		assert.Equal(t, k.cause, ended.Status.Cause, name)
		assert.Contains(t, ended.Status.Message, k.says, name)
	}

	c.create(kerneltest.Kernel("k", "gw", "cpu", fromGateway("nb", kerneltest.Owned("root", "everything"), func(k *v1alpha1.JupyterKernel) {
		k.Spec.IdleTimeoutSeconds = ptr.To[int64](0) // never
	})))
	pod := c.ready("k", 1, "")
	assert.Equal(t, "alice", pod.Annotations[v1alpha1.LabelHubUsername], "accounted to")
	assert.Equal(t, `["small"]`, pod.Annotations[v1alpha1.AnnotationPolicies])
	assert.JSONEq(t, `{"timeoutSeconds":60,"cullConnected":true}`, pod.Annotations[v1alpha1.AnnotationIdle])
	assert.Equal(t, []string{"small"}, c.kernel("k").Status.Policies)
	c.create(kerneltest.Kernel("by-kubectl", "gw", "gpu", kerneltest.Owned("root", "everything")))
	assert.Equal(t, "root", c.pod("by-kubectl", 1).Annotations[v1alpha1.LabelHubUsername], "who may write kernels by hand is believed")
}

func TestGroupsCountWhenAKernelStartsAndReturns(t *testing.T) {
	d := &directory{has: map[string][]string{"alice": {"research"}, "bob": {"research"}, "carol": {"research"}}, asked: map[string]int{}}
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity, cfg.Allowances = false, d })
	c.gateway("gw")
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.Policy("research", func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.GPUsPerKernel, k.GPUsPerUser = []string{"gpu"}, 1, 4
	}), kerneltest.Policy("everybody", func(*v1alpha1.PolicyKernels) {}))
	for _, user := range []string{"alice", "bob", "carol"} {
		c.notebook(user, user, "research")
		c.create(kerneltest.Kernel("first-"+user, "gw", "gpu", fromGateway(user, kerneltest.Owned(user, "research"))))
		c.ready("first-"+user, 1, "")
	}
	assert.Positive(t, d.asked["alice"])

	t.Log("removed from the group, from the directory, and left with less")
	d.set(func(d *directory) { d.has["alice"] = nil; delete(d.has, "bob"); d.has["carol"] = []string{"everybody"} })
	expireAnswers(c)
	says := map[string]string{
		"alice": "You are no longer in a group that a policy names: kernels are not started.",
		"bob":   "The directory does not know you any more: kernels are not started.",
		"carol": `The kernel "gpu" is not among spec.kernels.allowed of policy everybody. Your groups have changed since the server was started: everybody counts now, it was research.`,
	}
	for user, sentence := range says {
		c.create(kerneltest.Kernel("second-"+user, "gw", "gpu", fromGateway(user, kerneltest.Owned(user, "research"))))
		k := c.phase("second-"+user, 1, v1alpha1.KernelDead)
		assert.Equal(t, v1alpha1.CauseRefused, k.Status.Cause)
		assert.Equal(t, sentence, k.Status.Message)
		assert.Equal(t, v1alpha1.KernelReady, c.kernel("first-"+user).Status.Phase, "what runs runs on")
	}

	t.Log("a parked kernel does not come back either")
	var parked corev1.Pod
	require.True(t, c.get("first-alice-1", &parked))
	c.report(&parked, kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"","exitCode":0}`))
	c.phase("first-alice", 1, v1alpha1.KernelParked)
	c.askRun("first-alice", 2)
	assert.Equal(t, says["alice"], c.phase("first-alice", 2, v1alpha1.KernelDead).Status.Message)

	t.Log("back in the group, and its kernel is back")
	d.set(func(d *directory) { d.has["alice"] = []string{"research"} })
	expireAnswers(c)
	c.askRun("first-alice", 3)
	c.pod("first-alice", 3)
}

func TestADirectoryThatDoesNotAnswerMakesKernelsWait(t *testing.T) {
	d := &directory{has: map[string][]string{"alice": {"research"}}, fault: groups.ErrUnavailable, asked: map[string]int{}}
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity, cfg.Allowances = false, d })
	c.gateway("gw")
	c.create(kerneltest.GPUSpec("gpu", 0), kerneltest.Policy("research", func(k *v1alpha1.PolicyKernels) { k.Allowed = []string{"gpu"} }))
	c.notebook("nb", "alice", "research")
	c.notebook("by-hand", "nobody", "research")
	change(c, "by-hand", &v1alpha1.JupyterNotebook{}, func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Start = "" })
	c.create(kerneltest.Kernel("k", "gw", "gpu", fromGateway("nb", kerneltest.Owned("alice", "research"))))
	c.eventually("the reason", func() bool {
		q := c.queue("k")
		return q != nil && q.Reason == "Your groups cannot be looked up now: the directory does not answer."
	})
	c.create(kerneltest.Kernel("free", "gw", "gpu", fromGateway("by-hand", kerneltest.Owned("nobody", "research"))))
	c.pod("free", 1) // an administrator wrote its policies: nobody is asked, nobody waits
	d.set(func(d *directory) { d.fault = nil })
	c.pod("k", 1)
	assert.Zero(t, d.asked["nobody"])
}

// expireAnswers begins with another leader, who knows no answers.
func expireAnswers(c *cluster) {
	c.stop()
	c.start()
}
