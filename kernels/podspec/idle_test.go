package podspec

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
)

// keptSample is sample with a home and a second policy, where the configuration
// has states kept: 300 s, idle time of the gateway 3600 s.
func keptSample() (Config, Parts) {
	cfg, in := testPods, sample()
	cfg.Keeps = true
	cfg.Keep = Keep{Enabled: true, IdleSeconds: 300, MaxBytes: 8 << 30, TTL: 7 * 24 * time.Hour}
	in.Notebook = &v1alpha1.JupyterNotebook{}
	in.Notebook.Spec.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{MountPath: "/home/jovyan/", Size: resource.MustParse("1Gi")}}
	in.Gateway.Spec.CullIdleTimeout = ptr.To[int32](3600)
	in.Policies = append(in.Policies, v1alpha1.GroupPolicy{})
	return cfg, in
}

func TestIdleRule(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*Config, *Parts)
		want   IdleRule
	}{
		"kept": {nil, IdleRule{TimeoutSeconds: 3600, ShortSeconds: 300, DecidedBy: IdleByGateway}},
		"off":  {func(c *Config, _ *Parts) { c.Keep.Enabled = false }, IdleRule{TimeoutSeconds: 3600, DecidedBy: IdleByGateway}},
		"nobody says when": {func(_ *Config, p *Parts) { p.Gateway.Spec.CullIdleTimeout = nil },
			IdleRule{TimeoutSeconds: testPods.IdleSeconds, ShortSeconds: 300, DecidedBy: IdleByConfiguration}},
		"never": {func(_ *Config, p *Parts) { p.Gateway.Spec.CullIdleTimeout = ptr.To[int32](0) }, IdleRule{DecidedBy: IdleByGateway}},
		"the long one is shorter": {func(_ *Config, p *Parts) { p.Kernel.Spec.IdleTimeoutSeconds = ptr.To[int64](120) },
			IdleRule{TimeoutSeconds: 120, DecidedBy: IdleByKernel}},
		"the kernelspec's": {func(_ *Config, p *Parts) { p.Spec.Spec.IdleTimeoutSeconds = ptr.To[int64](1200) },
			IdleRule{TimeoutSeconds: 1200, ShortSeconds: 300, DecidedBy: IdleByKernelSpec, ByKernelSpec: true}},
		"a policy's": {func(_ *Config, p *Parts) { p.Policies[1].Spec.Kernels.IdleSeconds = 900 },
			IdleRule{TimeoutSeconds: 900, ShortSeconds: 300, DecidedBy: IdleByPolicy}},
		"the gateway's short one": {func(_ *Config, p *Parts) { p.Gateway.Spec.Keep = &v1alpha1.GatewayKeep{IdleSeconds: ptr.To[int64](60)} },
			IdleRule{TimeoutSeconds: 3600, ShortSeconds: 60, DecidedBy: IdleByGateway}},
		"no short one": {func(_ *Config, p *Parts) { p.Gateway.Spec.Keep = &v1alpha1.GatewayKeep{IdleSeconds: ptr.To[int64](0)} },
			IdleRule{TimeoutSeconds: 3600, DecidedBy: IdleByGateway}},
		"a policy's short one, the first that says one": {func(_ *Config, p *Parts) {
			p.Gateway.Spec.Keep = &v1alpha1.GatewayKeep{IdleSeconds: ptr.To[int64](60)}
			p.Policies[0].Spec.Kernels.Keep = &v1alpha1.PolicyKeep{}
			p.Policies[1].Spec.Kernels.Keep = &v1alpha1.PolicyKeep{IdleSeconds: ptr.To[int64](90)}
		}, IdleRule{TimeoutSeconds: 3600, ShortSeconds: 90, DecidedBy: IdleByGateway}},
		"a gateway that keeps nothing": {func(_ *Config, p *Parts) { p.Gateway.Spec.Keep = &v1alpha1.GatewayKeep{Enabled: ptr.To(false)} },
			IdleRule{TimeoutSeconds: 3600, DecidedBy: IdleByGateway}},
		"a policy over it": {func(_ *Config, p *Parts) {
			p.Gateway.Spec.Keep = &v1alpha1.GatewayKeep{Enabled: ptr.To(false)}
			p.Policies[0].Spec.Kernels.Keep = &v1alpha1.PolicyKeep{Enabled: ptr.To(true)}
		}, IdleRule{TimeoutSeconds: 3600, ShortSeconds: 300, DecidedBy: IdleByGateway}},
		"a kernelspec that is not kept": {func(_ *Config, p *Parts) { p.Spec.Spec.Keep = ptr.To(false) },
			IdleRule{TimeoutSeconds: 3600, DecidedBy: IdleByGateway}},
		"a client who wants nothing kept": {func(_ *Config, p *Parts) {
			p.Kernel.Spec.Env = append(p.Kernel.Spec.Env, corev1.EnvVar{Name: "KERNEL_KEEP_STATE", Value: "false"})
		}, IdleRule{TimeoutSeconds: 3600, DecidedBy: IdleByGateway}},
		"a client who wants it": {func(_ *Config, p *Parts) {
			p.Kernel.Spec.Env = append(p.Kernel.Spec.Env, corev1.EnvVar{Name: "KERNEL_KEEP_STATE", Value: "yes"})
		}, IdleRule{TimeoutSeconds: 3600, ShortSeconds: 300, DecidedBy: IdleByGateway}},
		"one that is deleted when it is idle": {func(_ *Config, p *Parts) { p.Gateway.Spec.OnIdle = v1alpha1.OnIdleDelete },
			IdleRule{TimeoutSeconds: 3600, DecidedBy: IdleByGateway}},
		"no seed":        {func(c *Config, _ *Parts) { c.Keeps = false }, IdleRule{TimeoutSeconds: 3600, DecidedBy: IdleByGateway}},
		"no notebook":    {func(_ *Config, p *Parts) { p.Notebook = nil }, IdleRule{TimeoutSeconds: 3600, DecidedBy: IdleByGateway}},
		"no home":        {func(_ *Config, p *Parts) { p.Notebook.Spec.Storage.Home = nil }, IdleRule{TimeoutSeconds: 3600, DecidedBy: IdleByGateway}},
		"nobody's":       {func(_ *Config, p *Parts) { p.Warm = true }, IdleRule{DecidedBy: IdleByWarm}},
		"another notice": {func(_ *Config, p *Parts) { p.Gateway.Spec.ParkNoticeSeconds = ptr.To[int64](-5) }, IdleRule{TimeoutSeconds: 3600, ShortSeconds: 300, DecidedBy: IdleByGateway, NoticeSeconds: -1}},
	} {
		cfg, in := keptSample()
		if tc.change != nil {
			tc.change(&cfg, &in)
		}
		tc.want.CullConnected = true
		switch tc.want.NoticeSeconds {
		case 0:
			tc.want.NoticeSeconds = 60
		case -1:
			tc.want.NoticeSeconds = 0
		}
		assert.Equal(t, tc.want, IdleRuleOf(cfg, in), name)
	}
}

// TestTheRuleOfKernelsThatAreNotKept is written as it always was: agents are not
// told anew.
func TestTheRuleOfKernelsThatAreNotKept(t *testing.T) {
	t.Parallel()
	assert.Equal(t, `{"timeoutSeconds":60,"cullConnected":false}`, IdleRule{TimeoutSeconds: 60, NoticeSeconds: 5, DecidedBy: IdleByKernel}.String())
	assert.Equal(t, `{"timeoutSeconds":60,"shortSeconds":5,"cullConnected":true}`, IdleRule{TimeoutSeconds: 60, ShortSeconds: 5, CullConnected: true}.String())
}

func TestHowAStateIsKept(t *testing.T) {
	t.Parallel()
	cfg, in := keptSample()
	want := cfg.Keep
	want.Home = "/home/jovyan"
	assert.Equal(t, want, KeepOf(cfg, in))
	in.Gateway.Spec.Keep = &v1alpha1.GatewayKeep{MaxBytes: ptr.To(resource.MustParse("1Gi")), TTL: &metav1.Duration{Duration: time.Hour}}
	in.Policies[0].Spec.Kernels.Keep = &v1alpha1.PolicyKeep{TTL: &metav1.Duration{Duration: 2 * time.Hour}}
	want.MaxBytes, want.TTL = 1<<30, 2*time.Hour
	assert.Equal(t, want, KeepOf(cfg, in))
	told, keeps := NewBuilder(cfg).KeepTold(in)
	assert.True(t, keeps)
	assert.False(t, told.YieldWhole)
	assert.NotContains(t, agentEnv(t, cfg, in), "ELASTICHUB_AGENT_KEEP_YIELD_WHOLE")
	in.Policies[1].Spec.Kernels.Keep = &v1alpha1.PolicyKeep{OnYield: v1alpha1.OnYieldWhole}
	want.OnYield = v1alpha1.OnYieldWhole
	assert.Equal(t, want, KeepOf(cfg, in))
	told, _ = NewBuilder(cfg).KeepTold(in)
	assert.True(t, told.YieldWhole, "also one that is kept ready is told")
	assert.Equal(t, "true", agentEnv(t, cfg, in)["ELASTICHUB_AGENT_KEEP_YIELD_WHOLE"])
	in.Policies[0].Spec.Kernels.Keep.OnYield = v1alpha1.OnYieldAny
	assert.NotContains(t, agentEnv(t, cfg, in), "ELASTICHUB_AGENT_KEEP_YIELD_WHOLE", "the first policy that says it counts")
}

// agentEnv are the variables of the agent of a kernel's Pod.
func agentEnv(t *testing.T, cfg Config, in Parts) map[string]string {
	t.Helper()
	pod, err := Build(cfg, in)
	require.NoError(t, err)
	found := map[string]string{}
	for _, v := range pod.Spec.Containers[0].Env {
		found[v.Name] = v.Value
	}
	return found
}

// TestPodWhoseStateIsKept: the agent alone sees the key, and run-kernel knows the home.
func TestPodWhoseStateIsKept(t *testing.T) {
	t.Parallel()
	cfg, in := keptSample()
	in.Kernel.Status.Run, in.Kernel.Status.Kept = 5, &v1alpha1.KeptState{Outcome: "part", Run: 3}
	pod, err := Build(cfg, in)
	require.NoError(t, err)
	main := pod.Spec.Containers[1]
	found := agentEnv(t, cfg, in)
	for name, want := range map[string]string{
		"ELASTICHUB_AGENT_KEEP_KEY_FILE": "/var/run/elastichub/agent/keep", "ELASTICHUB_AGENT_KEEP_KERNEL": "uid-1", "ELASTICHUB_AGENT_KEEP_RUN": "5", "ELASTICHUB_AGENT_KEEP_LOADS": "3",
		"ELASTICHUB_AGENT_KEEP_IDLE": "300", "ELASTICHUB_AGENT_KEEP_MAX_BYTES": "8589934592", "ELASTICHUB_AGENT_KEEP_TTL": "604800",
	} {
		assert.Equal(t, want, found[name], name)
	}
	command := strings.Join(main.Command, " ")
	assert.Contains(t, command, " --state /home/jovyan -- ")
	for _, v := range main.Env {
		assert.NotContains(t, v.Name, "KEEP")
	}
	for _, m := range main.VolumeMounts {
		assert.NotEqual(t, keyVolume, m.Name)
	}
	assert.EqualValues(t, 60, *pod.Spec.TerminationGracePeriodSeconds, "time to save")

	cfg.Keep.Enabled = false
	pod, err = Build(cfg, in)
	require.NoError(t, err)
	assert.EqualValues(t, 10, *pod.Spec.TerminationGracePeriodSeconds)
	assert.NotContains(t, strings.Join(pod.Spec.Containers[1].Command, " "), "--state")
}

func TestWhoseStateIsLoaded(t *testing.T) {
	t.Parallel()
	_, in := keptSample()
	in.Kernel.Status.Run = 5
	for want, kept := range map[int64]*v1alpha1.KeptState{
		0:  nil,
		-1: {Outcome: "none"},
		4:  {Outcome: "whole", Run: 4},
		3:  {Outcome: "part", Run: 3},
	} {
		in.Kernel.Status.Kept = kept
		assert.Equal(t, want, in.loads())
	}
	in.Kernel.Status.Kept = &v1alpha1.KeptState{Outcome: "whole", Run: 5}
	assert.Zero(t, in.loads(), "it cannot be")
}

func TestSecretOfAKernelWhoseStateIsKept(t *testing.T) {
	t.Parallel()
	k := sample().Kernel
	assert.Equal(t, map[string]string{"key": keys.Secret{1}.Hex()}, RunSecret(k, keys.Secret{1}).StringData)
	assert.Equal(t, map[string]string{"key": keys.Secret{1}.Hex(), "keep": keys.KeepKey{2}.Hex() + "\n" + keys.KeepKey{3}.Hex() + "\n"},
		RunSecret(k, keys.Secret{1}, keys.KeepKey{2}, keys.KeepKey{3}).StringData)
}

// TestKeptByHand: the limits of a kernel that is kept by hand are such that it cannot be
// parked before that is over, whenever it became idle.
func TestKeptByHand(t *testing.T) {
	t.Parallel()
	begin := metav1.NewTime(time.Unix(1_800_000_000, 0))
	for name, tc := range map[string]struct {
		rule              IdleRule
		long, short, kept time.Duration
	}{
		"not kept":         {IdleRule{TimeoutSeconds: 3600, ShortSeconds: 300}, time.Hour, 5 * time.Minute, 0},
		"beyond the long":  {IdleRule{TimeoutSeconds: 3600, ShortSeconds: 300}, 2 * time.Hour, 0, 2 * time.Hour},
		"beyond the short": {IdleRule{TimeoutSeconds: 3600, ShortSeconds: 300}, time.Hour, 30 * time.Minute, 30 * time.Minute},
		"no short one":     {IdleRule{TimeoutSeconds: 3600}, 2 * time.Hour, 0, 2 * time.Hour},
		"never":            {IdleRule{}, 0, 0, time.Hour},
		"below both":       {IdleRule{TimeoutSeconds: 3600, ShortSeconds: 300}, time.Hour, 5 * time.Minute, time.Minute},
	} {
		cfg, in := keptSample()
		in.Kernel.Spec.IdleTimeoutSeconds = &tc.rule.TimeoutSeconds
		cfg.Keep.IdleSeconds = tc.rule.ShortSeconds
		in.Kernel.Status.StartTime = &begin
		if tc.kept > 0 {
			in.Kernel.Status.SnoozedUntil = &metav1.Time{Time: begin.Add(tc.kept)}
		}
		rule := IdleRuleOf(cfg, in)
		limits := rule.Limits()
		assert.Equal(t, tc.long, limits.Long, name)
		assert.Equal(t, tc.short, limits.Short, name)
		assert.Equal(t, tc.rule.TimeoutSeconds, rule.TimeoutSeconds, name)
		assert.Equal(t, tc.rule.ShortSeconds, rule.ShortSeconds, name)
	}
}
