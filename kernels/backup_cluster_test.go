package kernels

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/backup"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/usage"
	"github.com/elastichub/elastichub/usage/budgets"
)

// backedUp are all kinds of objects, kernels with hours, and Secrets, in a namespace.
func backedUp(t *testing.T) *cluster {
	c := startCluster(t, func(cfg *Config) {
		cfg.ClusterCapacity, cfg.Ledger, cfg.KeepSeeds = false, "hours", keys.FixedKeepSeeds(bytes.Repeat([]byte{5}, keys.Size))
		cfg.Pods.Keep = podspec.Keep{Enabled: true, IdleSeconds: 300, TTL: time.Hour}
	})
	c.gateway("gw")
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb", Annotations: map[string]string{
		corev1.LastAppliedConfigAnnotation: `{"spec": {"auth": {"token": "t0psecret"}}}`,
	}}}
	nb.Spec.User, nb.Spec.Gateway = "ann", &corev1.ObjectReference{Name: "gw"}
	nb.Spec.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: resource.MustParse("1Gi")}}
	template := &v1alpha1.JupyterKernelTemplate{ObjectMeta: metav1.ObjectMeta{Name: "template"}}
	policy := kerneltest.Policy("lab", func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.GPUsPerKernel, k.GPUsPerUser = []string{"gpu"}, 1, 2
		k.Budget = []v1alpha1.Budget{{Resource: "nvidia.com/gpu", Hours: resource.MustParse("100"), Per: v1alpha1.BudgetPerUser, Window: v1alpha1.BudgetWindow{Rolling: &metav1.Duration{Duration: 168 * time.Hour}}}}
	})
	secret := func(name, value string, labels map[string]string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Data: map[string][]byte{"value": []byte(value)}}
	}
	c.create(kerneltest.GPUSpec("gpu", 1), nb, template, policy,
		secret("release-keep", "s33d", map[string]string{"app.kubernetes.io/name": "elastichub"}),
		secret("nb-credentials", "cr3dential", nil), secret("others", "0thers", nil))
	for _, name := range []string{"parked", "busy"} {
		c.create(kerneltest.Kernel(name, "gw", "gpu", kerneltest.Owned("ann", "lab"), func(k *v1alpha1.JupyterKernel) { k.Spec.Notebook = "nb" }))
		pod := c.ready(name, 1, "")
		if name == "parked" {
			time.Sleep(1200 * time.Millisecond)
			c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","kept":{"outcome":"whole","run":1,"variables":3,"bytes":70000},"meter":{"heldSeconds":1.5,"busySeconds":0.5}}`))
			c.phase(name, 1, v1alpha1.KernelParked)
		}
		c.eventually("what a copy needs is noted", func() bool {
			as, _ := c.kernel(name).RestoreAs()
			return as.UID != "" && (as.Kept != nil) == (name == "parked")
		})
	}
	c.eventually("both runs are booked", func() bool { return c.line().Runs == 2 && c.line().Resources["nvidia.com/gpu"].Busy > 0 })
	return c
}

func (c *cluster) books() []*usage.Book {
	c.Helper()
	saved, err := (&usage.Store{Reader: c.api, Namespace: c.namespace, Name: "hours"}).Read(c.ctx)
	require.NoError(c, err)
	return saved.All()
}

// line are ann's hours.
func (c *cluster) line() usage.Line {
	c.Helper()
	lines := usage.Report(c.books(), usage.Period{Days: 2}, usage.ByUser, nil, time.Now())
	if len(lines) == 0 {
		return usage.Line{}
	}
	require.Len(c, lines, 1)
	return lines[0]
}

// used is what is used of ann's budget, in milliseconds of thousandths.
func (c *cluster) used() int64 {
	c.Helper()
	var policy v1alpha1.GroupPolicy
	require.True(c, c.get("lab", &policy))
	all := budgets.Of(&policy)
	// as written: soon after that, an open run is taken to go on
	standing, known := usage.NewStandings(c.books(), all, time.Now().Add(2*time.Minute)).Of(all[0], "ann", false)
	require.True(c, known)
	return standing.Used
}

var backedUpKinds = []client.Object{
	&v1alpha1.JupyterKernel{}, &v1alpha1.JupyterNotebook{}, &v1alpha1.JupyterGateway{}, &v1alpha1.JupyterKernelSpec{},
	&v1alpha1.JupyterKernelTemplate{}, &v1alpha1.GroupPolicy{}, &corev1.ConfigMap{}, &corev1.Secret{},
}

// empty removes everything from the namespace, as a deleted one is gone, while nobody controls it.
func (c *cluster) empty() {
	c.Helper()
	for _, o := range append([]client.Object{&corev1.Pod{}}, backedUpKinds...) {
		require.NoError(c, c.api.DeleteAllOf(c.ctx, o, client.InNamespace(c.namespace), client.GracePeriodSeconds(0)))
	}
	var pods corev1.PodList
	require.NoError(c, c.api.List(c.ctx, &pods, client.InNamespace(c.namespace)))
	for i := range pods.Items { // the ledger's finalizer
		pods.Items[i].Finalizers = nil
		require.NoError(c, client.IgnoreNotFound(c.api.Update(c.ctx, &pods.Items[i])))
	}
}

// TestBackupAndRestore: everything is removed and comes back, before the controllers are there
// again and while they are: policies, specs, notebooks, kernels with their state, hours and
// budgets to the millisecond.
func TestBackupAndRestore(t *testing.T) {
	c := backedUp(t)
	c.stop() // the leader writes what it has seen
	identity, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	contents, err := backup.Collect(t.Context(), c.api, backup.Wanted{Namespaces: []string{c.namespace}, Secrets: true})
	require.NoError(t, err)
	for _, secret := range contents.Secrets {
		assert.NotContains(t, secret.GetName(), "gateway-key", "it is made anew")
	}
	var archive bytes.Buffer
	require.NoError(t, backup.Write(&archive, contents, "test", time.Now(), identity.Recipient()))
	assert.NotContains(t, plain(t, archive.Bytes()), "t0psecret")
	before, used, first := c.line(), c.used(), string(c.kernel("parked").UID)
	require.Positive(t, used)

	for _, while := range []string{"the service is away", "the service is there"} {
		c.empty()
		if while == "the service is there" {
			c.start()
			c.eventually("a new ledger is begun", func() bool { return c.get("hours-00", &corev1.ConfigMap{}) })
		}
		read, err := backup.Read(bytes.NewReader(archive.Bytes()), identity)
		require.NoError(t, err)
		report, err := backup.Restore(t.Context(), c.api, read, backup.Options{DryRun: true})
		require.NoError(t, err)
		assert.False(t, c.get("parked", &v1alpha1.JupyterKernel{}), "a dry run writes nothing")
		dry := outcomes(report)
		report, err = backup.Restore(t.Context(), c.api, read, backup.Options{})
		require.NoError(t, err)
		assert.Equal(t, dry, outcomes(report), while)
		for _, o := range report.Objects {
			assert.NotEqual(t, backup.Refused, o.Outcome, o.Why)
			if o.Why != "neither has hours" { // the leader writes one of the books to learn the time
				assert.NotEqual(t, backup.There, o.Outcome, o.Name)
			}
		}
		assert.Contains(t, report.Lost, "Homes that are not there, of which empty ones are made when their servers start: bring them first: "+c.namespace+"/home-nb.")
		assert.Contains(t, report.Lost, "Kernels that were in use or not kept, which come back without their variables: "+c.namespace+"/busy.")
		if while == "the service is away" {
			c.start()
		}
		for _, name := range []string{"parked", "busy"} {
			k := c.phase(name, 1, v1alpha1.KernelParked)
			c.eventually("it has its notebook", func() bool { return len(c.kernel(name).OwnerReferences) == 1 })
			assert.NotEqual(t, first, string(k.UID))
		}
		assert.Equal(t, first, c.kernel("parked").Status.KeptAs)
		c.eventually("the open run is closed", func() bool { return c.line().Estimated == 1 })
		after := c.line()
		after.Estimated = before.Estimated
		assert.Equal(t, before, after, while)
		assert.Equal(t, used, c.used(), while)
		for name, is := range map[string]bool{"release-keep": true, "nb-credentials": true, "others": false} {
			assert.Equal(t, is, c.get(name, &corev1.Secret{}), name)
		}
		for _, o := range []client.Object{
			&v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb"}}, &v1alpha1.JupyterKernelTemplate{ObjectMeta: metav1.ObjectMeta{Name: "template"}},
			&v1alpha1.JupyterKernelSpec{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}}, &v1alpha1.GroupPolicy{ObjectMeta: metav1.ObjectMeta{Name: "lab"}},
		} {
			assert.True(t, c.get(o.GetName(), o), o.GetName())
		}
		// again: nothing is written, and the ledger, which has hours now, least of all
		report, err = backup.Restore(t.Context(), c.api, read, backup.Options{})
		require.NoError(t, err)
		for _, o := range report.Objects {
			assert.Equal(t, backup.There, o.Outcome, "%s %s: %s", o.Kind, o.Name, o.Why)
		}
		c.stop()
	}
}

// outcomes are those of objects, by kind and name.
func outcomes(r backup.Report) map[string]backup.Outcome {
	all := map[string]backup.Outcome{}
	for _, o := range r.Objects {
		all[o.Kind+" "+o.Name] = o.Outcome
	}
	return all
}

// plain is an archive unpacked, as far as anybody can read it.
func plain(t *testing.T, archive []byte) string {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	require.NoError(t, err)
	text, err := io.ReadAll(zip)
	require.NoError(t, err)
	for _, secret := range []string{"s33d", "cr3dential", "czMzZA"} {
		assert.NotContains(t, string(text), secret)
	}
	return string(text)
}
