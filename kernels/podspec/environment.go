package podspec

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/tracing"
)

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// environment is an ordered set of variables; a later one of the same name
// replaces the former in its place.
type environment struct{ vars []corev1.EnvVar }

func (e *environment) add(vars ...corev1.EnvVar) {
	for _, v := range vars {
		if i := slices.IndexFunc(e.vars, func(old corev1.EnvVar) bool { return old.Name == v.Name }); i >= 0 {
			e.vars[i] = v
			continue
		}
		e.vars = append(e.vars, v)
	}
}

func (e *environment) set(name, value string) { e.add(corev1.EnvVar{Name: name, Value: value}) }

// clientEnv checks what a client sent. It must be plain values: a reference
// would read Secrets with our rights.
func clientEnv(vars []corev1.EnvVar) ([]corev1.EnvVar, error) {
	checked := make([]corev1.EnvVar, 0, len(vars))
	for i, v := range vars {
		at := fmt.Sprintf("spec.env[%d]", i)
		switch {
		case !envName.MatchString(v.Name):
			return nil, invalid(at+".name", "%q is not the name of a variable", v.Name)
		case strings.HasPrefix(v.Name, protocol.EnvReservedPrefix), v.Name == podrules.EnvNvidiaDevices:
			return nil, invalid(at+".name", "%s is reserved", v.Name)
		case v.ValueFrom != nil:
			return nil, invalid(at+".valueFrom", "only plain values are allowed")
		case strings.ContainsRune(v.Value, 0):
			return nil, invalid(at+".value", "must not contain NUL")
		}
		checked = append(checked, corev1.EnvVar{Name: v.Name, Value: podrules.WithoutReferences(v.Value)})
	}
	return checked, nil
}

// policyVariables are those of all policies, the first naming a variable winning.
func policyVariables(policies []v1alpha1.GroupPolicy) []v1alpha1.PolicyEnv {
	var all []v1alpha1.PolicyEnv
	for _, p := range policies {
		for _, v := range p.Spec.Env {
			if !slices.ContainsFunc(all, func(former v1alpha1.PolicyEnv) bool { return former.Name == v.Name }) {
				all = append(all, v)
			}
		}
	}
	return all
}

// policyEnv is the environment that policies say for a user.
func policyEnv(policies []v1alpha1.GroupPolicy, user string) []corev1.EnvVar {
	var e environment
	for _, v := range policyVariables(policies) {
		if v.ValueFrom != nil {
			e.add(corev1.EnvVar{Name: v.Name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: v.ValueFrom.SecretKeyRef.DeepCopy()}})
			continue
		}
		e.set(v.Name, podrules.Literal(v.For(user)))
	}
	return e.vars
}

// environment is the kernel's: the template's over the Hub's, the kernelspec's over those, the client's
// over those, the policies' over what clients say, and ours over everything.
func (in Parts) environment(main *corev1.Container, gpus int64) ([]corev1.EnvVar, error) {
	client, err := clientEnv(in.Kernel.Spec.Env)
	if err != nil {
		return nil, within(err, objectName(in.Kernel))
	}
	var e environment
	e.add(in.hubEnv()...)
	e.add(main.Env...)
	e.add(in.Spec.Spec.Env...)
	e.add(client...)
	e.add(policyEnv(in.Policies, in.Kernel.Spec.User)...)
	e.add(in.notebookEnv()...)
	e.add(podrules.LimitVariables(main.Resources)...)
	e.set(protocol.EnvKernelID, in.Kernel.Name)
	e.set(protocol.EnvKernelName, in.Spec.Name)
	e.set(protocol.EnvGPUs, strconv.FormatInt(gpus, 10))
	return in.Proxy.Complete(e.vars), nil
}

// agentEnvironment is that of the agent.
func (in Parts) agentEnvironment(cfg Config, gpus int64) []corev1.EnvVar {
	var e environment
	e.set(protocol.EnvKeyFile, keyDir+"/"+KeyName)
	e.set(protocol.EnvKernelID, in.Kernel.Name)
	e.set(protocol.EnvKernelName, in.Spec.Name)
	idle := IdleRuleOf(cfg, in)
	e.set(protocol.EnvIdleTimeout, strconv.FormatInt(idle.TimeoutSeconds, 10))
	e.set(protocol.EnvCullConnected, strconv.FormatBool(idle.CullConnected))
	e.set(protocol.EnvParkNotice, strconv.FormatInt(idle.NoticeSeconds, 10))
	if mode := in.Spec.Spec.InterruptMode; mode != "" {
		e.set(protocol.EnvInterruptMode, string(mode))
	}
	e.set(protocol.EnvBusyCPU, strconv.FormatFloat(cfg.BusyCPU, 'g', -1, 64))
	e.set(protocol.EnvBusyGPU, strconv.FormatFloat(cfg.BusyGPU, 'g', -1, 64))
	e.set(protocol.EnvGPUs, strconv.FormatInt(gpus, 10))
	if request := tracing.Noted(in.Kernel); request != "" && !in.Warm {
		e.set(protocol.EnvRequest, request)
	}
	limits := ptr.Deref(in.Gateway.Spec.IOPub, v1alpha1.IOPubLimits{})
	e.set(protocol.EnvIOPubMessages, strconv.FormatInt(max(limits.MessagesPerSecond, 0), 10))
	e.set(protocol.EnvIOPubBytes, strconv.FormatInt(max(limits.BytesPerSecond, 0), 10))
	keep := keepOf(cfg, in)
	switch {
	case keep.Enabled && in.Warm:
		e.set(protocol.EnvKeepLater, "true")
	case keep.Enabled:
		e.set(protocol.EnvKeepKeyFile, keyDir+"/"+KeepKeyName)
		e.set(protocol.EnvKeepKernel, in.Kernel.StateUID())
		e.set(protocol.EnvKeepRun, strconv.FormatInt(runOf(in.Kernel), 10))
		e.set(protocol.EnvKeepLoads, strconv.FormatInt(in.loads(), 10))
		e.set(protocol.EnvKeepIdle, strconv.FormatInt(idle.ShortSeconds, 10))
		e.set(protocol.EnvKeepMaxBytes, strconv.FormatInt(max(keep.MaxBytes, 0), 10))
		e.set(protocol.EnvKeepTTL, strconv.FormatInt(int64(keep.TTL.Seconds()), 10))
		if keep.yieldsWhole() {
			e.set(protocol.EnvKeepYieldWhole, "true")
		}
	}
	return e.vars
}
