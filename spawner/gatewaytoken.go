package spawner

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/tokens"
)

// The token of a start for the notebook's gateway is in the Secret that has the start's
// environment, where the Service has written one: an object less. Servers that are of no Hub
// have it in a Secret of its own, as all had that a former release has made.

// envGatewayToken is what jupyter_server reads it from, and its key beside the environment.
const envGatewayToken = "JUPYTER_GATEWAY_AUTH_TOKEN" //nolint:gosec // the name of a variable

const (
	// envTokenFile is what the extension in the Pod looks for (python/elastichub/notebook/token.py):
	// a variable stays as it was when the process began, and a file follows the Secret.
	envTokenFile = "ELASTICHUB_GATEWAY_TOKEN_FILE" //nolint:gosec // the name of a variable
	tokenPath    = "/etc/elastichub/gateway"
)

// mountToken has a Pod's container find the gateway's token in a file, too.
func mountToken(pod *corev1.PodSpec, c *corev1.Container, tokenIn corev1.SecretKeySelector) {
	absent := true // the variable says what is missing
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: v1alpha1.VolumeGatewayToken, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
		SecretName: tokenIn.Name, Optional: &absent,
		Items: []corev1.KeyToPath{{Key: tokenIn.Key, Path: tokenKey}},
	}}})
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v1alpha1.VolumeGatewayToken, MountPath: tokenPath, ReadOnly: true})
	addEnv(c, corev1.EnvVar{Name: envTokenFile, Value: tokenPath + "/" + tokenKey})
}

// tokenWith is where the token is if the environment of a start has it.
func tokenWith(env *corev1.Secret) corev1.SecretKeySelector {
	return secretKey(env.Name, envGatewayToken)
}

// tokenAlone is where it is otherwise.
func tokenAlone(nb *v1alpha1.JupyterNotebook) corev1.SecretKeySelector {
	return secretKey(nb.Name+gatewaySecretSuffix, tokenKey)
}

func secretKey(secret, key string) corev1.SecretKeySelector {
	return corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: key}
}

// tokenOf is where a Deployment has its Pod look for the token.
func tokenOf(d *appsv1.Deployment, nb *v1alpha1.JupyterNotebook) corev1.SecretKeySelector {
	if d != nil && nb.Spec.EnvSecret != "" && len(d.Spec.Template.Spec.Containers) > 0 {
		for _, variable := range notebookContainer(&d.Spec.Template.Spec).Env {
			if inEnv := secretKey(nb.Spec.EnvSecret, envGatewayToken); variable.Name == envGatewayToken && variable.ValueFrom != nil &&
				variable.ValueFrom.SecretKeyRef != nil && variable.ValueFrom.SecretKeyRef.Name == inEnv.Name && variable.ValueFrom.SecretKeyRef.Key == inEnv.Key {
				return inEnv
			}
		}
	}
	return tokenAlone(nb)
}

func (c *controller) issueToken(nb *v1alpha1.JupyterNotebook) (string, error) {
	token, err := c.issuer.Issue(tokens.Notebook{
		Namespace: nb.Namespace, Name: nb.Name, UID: string(nb.UID), Start: nb.Spec.Start, User: nb.Spec.User,
	})
	if err != nil {
		return "", fmt.Errorf("issue gateway token: %w", err)
	}
	return token, nil
}

// putToken writes the token where it is to be. The environment of a start, which the Hub alone
// knows, is not made anew for it.
func (c *controller) putToken(ctx context.Context, nb *v1alpha1.JupyterNotebook, tokenIn corev1.SecretKeySelector) error {
	if nb.Spec.Gateway == nil {
		return nil
	}
	if tokenIn.Name == nb.Spec.EnvSecret {
		var env corev1.Secret
		if err := c.live.Get(ctx, client.ObjectKey{Namespace: nb.Namespace, Name: tokenIn.Name}, &env); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read environment: %w", err)
		}
		if !isEnvOf(&env, nb.Name) || env.Annotations[v1alpha1.AnnotationStart] != nb.Spec.Start { // or there is none
			return nil
		}
		return c.ownEnvironment(ctx, nb, &env)
	}
	token, err := c.issueToken(nb)
	if err != nil {
		return err
	}
	return c.ensureSecret(ctx, nb, gatewaySecret(nb, token))
}

// forgetToken removes the Secret in which a former release has put the token, once nothing
// reads it.
func (c *controller) forgetToken(ctx context.Context, nb *v1alpha1.JupyterNotebook) error {
	var secret corev1.Secret
	err := c.live.Get(ctx, client.ObjectKey{Namespace: nb.Namespace, Name: nb.Name + gatewaySecretSuffix}, &secret)
	if err == nil && ours(&secret, nb) == nil {
		err = c.client.Delete(ctx, &secret, client.Preconditions{UID: &secret.UID})
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove former gateway token: %w", err)
	}
	return nil
}
