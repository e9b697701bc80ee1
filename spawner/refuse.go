package spawner

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// refusal is why nothing may ever be built from a spec.
type refusal struct {
	reason  Reason
	message string
}

// refuse returns the first reason not to build a notebook, nil if there is
// none; gatewayRefusal knows those of other objects. Secrets of the namespace are not guarded: whoever may write
// JupyterNotebooks may name one in spec.envSecret.
func refuse(nb *v1alpha1.JupyterNotebook) *refusal {
	for _, fault := range validation.IsDNS1035Label(nb.Name) {
		return &refusal{ReasonNameInvalid, "The name cannot be that of a Service: " + fault}
	}
	if gateway := nb.Spec.Gateway; gateway != nil {
		if gateway.Name == "" {
			return &refusal{ReasonGatewayRefused, "spec.gateway.name is empty."}
		}
	}
	if nb.Spec.Template != nil {
		template := nb.Spec.Template.PodTemplateSpec.DeepCopy()
		if accountOf(nb) != "" {
			template.Spec.ServiceAccountName = "" // accountRefusal looks at it
		}
		if fault := podrules.TemplateFault(template); fault != nil {
			return &refusal{ReasonTemplateRefused, "spec.template." + fault.Error() + "."}
		}
	}
	if fault := authFault(nb.Spec.Auth); fault != "" {
		return &refusal{ReasonAuthRefused, "spec.auth." + fault}
	}
	if fault := podrules.StorageFault(nb.Spec.Storage); fault != nil {
		return &refusal{ReasonStorageRefused, "spec.storage." + fault.Error() + "."}
	}
	return nil
}

// authFault says what of spec.auth does not go together; empty if all does.
func authFault(auth *v1alpha1.JupyterAuth) string {
	if auth == nil {
		return ""
	}
	for _, way := range []struct {
		name    string
		literal *string
		ref     *corev1.SecretKeySelector
	}{{"token", auth.Token, auth.TokenSecretRef}, {"password", auth.Password, auth.PasswordSecretRef}} {
		switch {
		case way.ref == nil:
		case way.literal != nil:
			return fmt.Sprintf("%s and %sSecretRef: at most one of them.", way.name, way.name)
		case way.ref.Name == "":
			return way.name + "SecretRef.name is empty."
		}
	}
	return ""
}
