package spawner

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Access is how a server's API is asked.
type Access struct {
	// Address of the API, ending in a slash.
	Address string
	// Token is one that the server takes; empty: it wants none.
	Token string
	// TLS is what the server shows and is shown; nil where it speaks HTTP.
	TLS *tls.Config
}

// access is the path and the token for a server's own API: those that the Hub
// gave it, or, of a server without a Hub, the token that is elastichub's own: it does
// not matter what its users sign in with.
func (c *controller) access(ctx context.Context, nb *v1alpha1.JupyterNotebook) (prefix, token string, err error) {
	if prefix, token, err = c.given(ctx, nb); err != nil || token != "" || hasHubsToken(nb) {
		return prefix, token, err
	}
	var d appsv1.Deployment
	if err := c.client.Get(ctx, client.ObjectKeyFromObject(nb), &d); err != nil {
		return "", "", fmt.Errorf("read deployment: %w", err)
	}
	if by := deriver(c.issuer, d.Spec.Template.Annotations[v1alpha1.AnnotationAuthVersion]); by != nil {
		return prefix, accessToken(by, nb), nil
	}
	// A Pod that a former release has made: it knows its users' token alone.
	found, err := c.findCredentials(ctx, nb)
	if err != nil {
		return "", "", err
	}
	if found.token != nil {
		token = *found.token
	}
	return prefix, token, nil
}

// given is the path of a server's API, and the token that its environment gives it, if any.
func (c *controller) given(ctx context.Context, nb *v1alpha1.JupyterNotebook) (prefix, token string, err error) {
	if nb.Spec.EnvSecret == "" {
		return prefixIn(nil), "", nil
	}
	var secret corev1.Secret
	if err := c.live.Get(ctx, client.ObjectKey{Namespace: nb.Namespace, Name: nb.Spec.EnvSecret}, &secret); err != nil {
		return "", "", fmt.Errorf("read environment: %w", err)
	}
	return prefixIn(secret.Data), string(secret.Data[envToken]), nil
}

// prefixIn is the path of a server's API as its environment has it.
func prefixIn(env map[string][]byte) string {
	prefix := string(env[envPrefix])
	if !strings.HasPrefix(prefix, "/") { // it must not become part of the host
		prefix = "/" + prefix
	}
	return prefix
}
