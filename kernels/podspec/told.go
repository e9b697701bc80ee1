package podspec

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/languages"
	"github.com/elastichub/elastichub/podrules"
)

const (
	// clientPrefix begins the names of the variables that a client may set; only what
	// runs in the kernel reads them.
	clientPrefix = "KERNEL_"
	// clientToldBytes bounds those that are told; see protocol.VariablesBytes.
	clientToldBytes = 2 << 10
)

// tellable reports whether a kernel of the language can be told variables while it
// runs: the agent knows how to say it in that language.
func tellable(language string) bool { return languages.Name(language) == languages.Python }

// untold is what the Pod of a kernel is made from without what kernel and agent are told
// once they run: what its client sent, where its document is, and the key of what is kept.
func (in Parts) untold() Parts {
	told := in.clientTold()
	k := *in.Kernel // shallow: only whole fields are replaced
	k.Spec.WorkingDir = ""
	k.Spec.Env = slices.DeleteFunc(slices.Clone(k.Spec.Env), func(v corev1.EnvVar) bool {
		return slices.ContainsFunc(told, func(t corev1.EnvVar) bool { return t.Name == v.Name })
	})
	in.Kernel, in.Warm = &k, true
	return in
}

// clientTold are the variables of the client that a kernel is told which runs already.
// One that the kernelspec has, too, is not among them, since others may refer to it,
// nor KERNEL_KEEP_STATE, which is not for the kernel alone; nor is any if they are many.
func (in Parts) clientTold() []corev1.EnvVar {
	var told []corev1.EnvVar
	bytes := 0
	for _, v := range in.Kernel.Spec.Env {
		switch {
		case v.Name == podrules.EnvSession:
			told = append(told, v)
		case !strings.HasPrefix(v.Name, clientPrefix), v.Name == EnvKeepState, v.ValueFrom != nil, in.specSets(v.Name):
		default:
			bytes += len(v.Name) + len(v.Value)
			told = append(told, v)
		}
	}
	if bytes > clientToldBytes {
		return nil
	}
	return told
}

// specSets reports whether the kernelspec or its template sets a variable.
func (in Parts) specSets(name string) bool {
	sets := func(env []corev1.EnvVar) bool {
		return slices.ContainsFunc(env, func(v corev1.EnvVar) bool { return v.Name == name })
	}
	if in.Template != nil && in.Template.Spec.Template != nil {
		for _, c := range in.Template.Spec.Template.Spec.Containers {
			if sets(c.Env) {
				return true
			}
		}
	}
	return sets(in.Spec.Spec.Env)
}

// withoutTold is an environment without what is told to a kernel that runs, whoever
// says it: of the policies' variables it is the user's name.
func (in Parts) withoutTold(env []corev1.EnvVar) []corev1.EnvVar {
	env = slices.DeleteFunc(env, func(v corev1.EnvVar) bool { return slices.Contains(notebookVariables, v.Name) || in.isHubEnv(v) })
	for _, v := range policyVariables(in.Policies) {
		if i := slices.IndexFunc(env, func(e corev1.EnvVar) bool { return e.Name == v.Name }); i >= 0 && v.Personal() {
			env[i].Value = v.Value
		}
	}
	return env
}

// Told is what a kernel is told which takes a warm Pod over: what its own Pod would
// have had beside that one's environment, and where it runs. live reads the Secret.
func Told(ctx context.Context, live client.Reader, in Parts) (protocol.Variables, error) {
	told := protocol.Variables{Variables: map[string]string{}}
	if in.Spec == nil || !tellable(in.Spec.Spec.Language) {
		return told, nil
	}
	told.Directory = in.directory()
	policies := policyVariables(in.Policies)
	for _, v := range in.clientTold() {
		if !slices.ContainsFunc(policies, func(p v1alpha1.PolicyEnv) bool { return p.Name == v.Name }) { // whose word is the last
			told.Variables[v.Name] = podrules.Text(podrules.WithoutReferences(v.Value))
		}
	}
	for _, v := range policies {
		if v.Personal() {
			told.Variables[v.Name] = v.For(in.Kernel.Spec.User)
		}
	}
	secret := in.notebookSecret()
	if secret == "" {
		return told, nil
	}
	var environment corev1.Secret
	err := live.Get(ctx, types.NamespacedName{Namespace: in.Kernel.Namespace, Name: secret}, &environment)
	if err != nil && !apierrors.IsNotFound(err) {
		return protocol.Variables{}, fmt.Errorf("kernels: read the notebook's environment: %w", err)
	}
	names := slices.DeleteFunc(slices.Clone(in.HubEnvironment), func(name string) bool {
		return in.specSets(name) || slices.ContainsFunc(policies, func(p v1alpha1.PolicyEnv) bool { return p.Name == name })
	})
	for _, name := range append(names, notebookVariables...) {
		if value, ok := environment.Data[name]; ok {
			told.Variables[name] = string(value)
		}
	}
	return told, nil
}
