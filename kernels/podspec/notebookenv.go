package podspec

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/kernels/languages"
	"github.com/elastichub/elastichub/podrules"
)

// notebookVariables are those of its notebook server that a kernel sees, too: where
// that is in the Hub. The others of the same Secret are not for kernels: tokens,
// and addresses that are of no use without.
var notebookVariables = []string{
	"JUPYTERHUB_USER", "JUPYTERHUB_SERVER_NAME", "JUPYTERHUB_SERVICE_PREFIX", "JUPYTERHUB_BASE_URL",
	"JUPYTERHUB_HOST", "JUPYTERHUB_PUBLIC_URL", "JUPYTERHUB_PUBLIC_HUB_URL",
}

// notebookSecret is the Secret with the environment of the kernel's notebook, empty if
// there is none.
func (in Parts) notebookSecret() string {
	if in.Notebook == nil {
		return ""
	}
	return in.Notebook.Spec.EnvSecret
}

// notebookEnv takes the notebook's variables from its Secret. One that is not there
// is not set.
func (in Parts) notebookEnv() []corev1.EnvVar {
	secret := in.notebookSecret()
	if secret == "" {
		return nil
	}
	env := make([]corev1.EnvVar, 0, len(notebookVariables))
	for _, name := range notebookVariables {
		env = append(env, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: name, Optional: ptr.To(true),
		}}})
	}
	return env
}

// tellable reports whether a kernel of the language can be told variables while it
// runs: the agent knows how to say it in that language.
func tellable(language string) bool { return languages.Name(language) == languages.Python }

// withoutTold is an environment without what is told to a kernel that runs: of
// the policies' variables it is the user's name.
func (in Parts) withoutTold(env []corev1.EnvVar) []corev1.EnvVar {
	env = slices.DeleteFunc(env, func(v corev1.EnvVar) bool {
		return v.Name == podrules.EnvSession || slices.Contains(notebookVariables, v.Name)
	})
	for _, v := range policyVariables(in.Policies) {
		if i := slices.IndexFunc(env, func(e corev1.EnvVar) bool { return e.Name == v.Name }); i >= 0 && v.Personal() {
			env[i].Value = v.Value
		}
	}
	return env
}

// Told are the variables that a kernel is told which takes a warm Pod over: what its
// own Pod would have had beside that one's environment. live reads the Secret.
func Told(ctx context.Context, live client.Reader, in Parts) (map[string]string, error) {
	told := map[string]string{}
	if in.Spec == nil || !tellable(in.Spec.Spec.Language) {
		return told, nil
	}
	for _, v := range in.Kernel.Spec.Env {
		if v.Name == podrules.EnvSession {
			told[v.Name] = podrules.Text(podrules.WithoutReferences(v.Value))
		}
	}
	for _, v := range policyVariables(in.Policies) {
		if v.Personal() {
			told[v.Name] = v.For(in.Kernel.Spec.User)
		}
	}
	secret := in.notebookSecret()
	if secret == "" {
		return told, nil
	}
	var environment corev1.Secret
	err := live.Get(ctx, types.NamespacedName{Namespace: in.Kernel.Namespace, Name: secret}, &environment)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("kernels: read the notebook's environment: %w", err)
	}
	for _, name := range notebookVariables {
		if value, ok := environment.Data[name]; ok {
			told[name] = string(value)
		}
	}
	return told, nil
}
