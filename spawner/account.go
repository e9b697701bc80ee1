package spawner

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// accountOf is the service account that a policy gives a notebook, empty if none does.
func accountOf(nb *v1alpha1.JupyterNotebook) string {
	if nb.Spec.Template == nil || accountPolicy(nb) == "" {
		return ""
	}
	return nb.Spec.Template.Spec.ServiceAccountName
}

// accountPolicy is the policy that decides where a server runs and as whom.
func accountPolicy(nb *v1alpha1.JupyterNotebook) string {
	if o := nb.Spec.KernelOptions; o != nil && len(o.Policies) > 0 {
		return o.Policies[0]
	}
	return ""
}

// accountRefusal is why a notebook may not run as its account, or have tokens of it, nil
// if it may.
func accountRefusal(ctx context.Context, cfg Config, live client.Reader, nb *v1alpha1.JupyterNotebook) (*refusal, error) {
	name, policy, tokens := accountOf(nb), accountPolicy(nb), nb.Spec.ServiceAccountTokens
	refused := func(format string, args ...any) *refusal {
		return &refusal{ReasonAccountRefused, fmt.Sprintf(format, args...)}
	}
	if len(tokens) == 0 && (name == "" || name == "default") {
		return nil, nil
	}
	if name == "" {
		return refused("spec.serviceAccountTokens: no policy gives an account that they could be of."), nil
	}
	if fault := podrules.AccountTokensFault(tokens, cfg.APIAudiences); fault != nil {
		return refused("spec.serviceAccountTokens%s.", fault), nil
	}
	account := &corev1.ServiceAccount{}
	err := live.Get(ctx, client.ObjectKey{Namespace: nb.Namespace, Name: name}, account)
	switch {
	case apierrors.IsNotFound(err):
		return refused("The service account %s, which the policy %s names, does not exist.", name, policy), nil
	case err != nil:
		return nil, fmt.Errorf("read service account: %w", err)
	case !podrules.IsForPolicy(account, policy):
		return refused("The service account %s is not for the policy %s: its owner has not named that in the annotation %s.", name, policy, v1alpha1.AnnotationForPolicies), nil
	}
	if why := podrules.WithheldToken(account, tokens); why != "" {
		return refused("The service account %s %s.", name, why), nil
	}
	return nil, nil
}
