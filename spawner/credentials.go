package spawner

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// The token and the password of a server come from Secrets. One that is written into
// spec.auth is moved into a Secret of ours, and taken out of the object:
//
//	apply with a literal ─▶ Secret NAME-credentials ─▶ literal removed from spec ─▶ auth Secret ─▶ Pod
//	another apply of it  ─▶ the same again; the Pod stays, since nothing else is different
//
// To remove a field takes no ownership of it: a later server-side apply meets no conflict.
// What was moved holds as long as spec.auth is there and names no Secret. Literals that come
// later replace it as a whole: an apply brings all that its manifest has.

// Secrets are not watched: those of a running server are read anew this often.
const credentialsCheck = time.Minute

// authManager is the field manager that takes literals out. It owns no field.
const authManager = "elastichub-auth"

const (
	credentialsSuffix = "-credentials"
	passwordKey       = "password"

	// lastApplied is where a client-side kubectl apply keeps the manifest.
	lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
)

// credentials are what a server's users sign in with; nil is Jupyter's own default.
type credentials struct {
	token, password *string
	// live: they come from Secrets, which may change.
	live bool
	// moved: that Secret is ours.
	moved bool
	// missing is what they wait for, nil if nothing.
	missing *missingCredentials
}

type missingCredentials struct {
	reason  Reason
	message string
}

// takeOutLiterals moves what spec.auth holds in plain text into a Secret.
func (c *controller) takeOutLiterals(ctx context.Context, o *observed) error {
	nb := o.notebook
	literals := literalsOf(nb.Spec.Auth)
	if len(literals) == 0 {
		return nil
	}
	secret := &corev1.Secret{ObjectMeta: meta(nb, nb.Name+credentialsSuffix), Data: literals}
	if err := c.ensureSecret(ctx, nb, secret); err != nil {
		return err
	}
	wasBuilt, before := built(o.deployment, nb), nb.DeepCopy()
	for key := range literals {
		if key == tokenKey {
			nb.Spec.Auth.Token = nil
		} else {
			nb.Spec.Auth.Password = nil
		}
	}
	if text, found := nb.Annotations[lastApplied]; found {
		nb.Annotations[lastApplied] = withoutLiterals(text)
	}
	if err := c.client.Patch(ctx, nb, podrules.PatchOver(before), client.FieldOwner(authManager)); err != nil {
		return writeFault(err, "spec.auth without the literal credentials")
	}
	if !wasBuilt {
		return nil
	}
	// What runs is what is asked for, whichever release has built it.
	return c.patchDeployment(ctx, o, func(d *appsv1.Deployment) {
		d.Annotations[v1alpha1.AnnotationGeneration] = strconv.FormatInt(nb.Generation, 10)
	})
}

// patchDeployment changes the notebook's Deployment, which there is.
func (c *controller) patchDeployment(ctx context.Context, o *observed, change func(*appsv1.Deployment)) error {
	changed := o.deployment.DeepCopy()
	change(changed)
	remark(changed, o.deployment, change)
	if err := c.client.Patch(ctx, changed, podrules.PatchOver(o.deployment)); err != nil {
		return writeFault(err, "Deployment")
	}
	o.deployment = changed
	return nil
}

// literalsOf are the credentials that stand in spec.auth. An empty one is no secret: it
// switches that way of signing in off.
func literalsOf(auth *v1alpha1.JupyterAuth) map[string][]byte {
	literals := map[string][]byte{}
	if auth == nil {
		return literals
	}
	if auth.Token != nil && *auth.Token != "" {
		literals[tokenKey] = []byte(*auth.Token)
	}
	if auth.Password != nil && *auth.Password != "" {
		literals[passwordKey] = []byte(*auth.Password)
	}
	return literals
}

// withoutLiterals takes the credentials out of the manifest that kubectl remembers. The
// next apply brings them anew, as kubectl compares with the object, too.
func withoutLiterals(manifest string) string {
	var object map[string]any
	decoder := json.NewDecoder(strings.NewReader(manifest))
	decoder.UseNumber()
	if decoder.Decode(&object) != nil {
		return "" // kubectl did not write it
	}
	spec, _ := object["spec"].(map[string]any)
	auth, _ := spec["auth"].(map[string]any)
	for _, key := range []string{tokenKey, passwordKey} {
		if text, _ := auth[key].(string); text != "" {
			delete(auth, key)
		}
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(object) != nil {
		return ""
	}
	return text.String()
}

// findCredentials reads what a server's users sign in with. What is missing is no error.
func (c *controller) findCredentials(ctx context.Context, nb *v1alpha1.JupyterNotebook) (credentials, error) {
	var found credentials
	auth := nb.Spec.Auth
	if auth == nil {
		return found, c.forgetMoved(ctx, nb)
	}
	if auth.Mode == v1alpha1.AuthDisable {
		none := ""
		found.token, found.password = &none, &none
		return found, nil
	}
	found.token, found.password = auth.Token, auth.Password // empty, or still to be taken out
	if auth.TokenSecretRef == nil && auth.PasswordSecretRef == nil {
		return found, c.readMoved(ctx, nb, &found)
	}
	if err := c.forgetMoved(ctx, nb); err != nil {
		return found, err
	}
	found.live = true
	read := map[string]readSecret{} // both may be in one Secret, which changes as a whole
	for _, r := range []struct {
		field string
		ref   *corev1.SecretKeySelector
		into  **string
	}{{"tokenSecretRef", auth.TokenSecretRef, &found.token}, {"passwordSecretRef", auth.PasswordSecretRef, &found.password}} {
		if r.ref == nil {
			continue
		}
		secret, known := read[r.ref.Name]
		if !known {
			secret.err = c.live.Get(ctx, client.ObjectKey{Namespace: nb.Namespace, Name: r.ref.Name}, &secret.Secret)
			read[r.ref.Name] = secret
		}
		value, missing, err := readReference(secret, r.field, r.ref)
		if err != nil {
			return found, err
		}
		if missing != nil && found.missing == nil {
			found.missing = missing
		}
		if value != nil {
			*r.into = value
		}
	}
	return found, nil
}

// readSecret is a Secret, or why it could not be read.
type readSecret struct {
	corev1.Secret
	err error
}

// readReference gives nil, and nothing that is missing, where an optional one is not there.
func readReference(secret readSecret, field string, ref *corev1.SecretKeySelector) (*string, *missingCredentials, error) {
	err := secret.err
	if client.IgnoreNotFound(err) != nil {
		return nil, nil, fmt.Errorf("read spec.auth.%s: %w", field, err)
	}
	data, found := secret.Data[ref.Key]
	value := strings.TrimRight(string(data), "\r\n")
	missing := func(reason Reason, format string, args ...any) (*string, *missingCredentials, error) {
		return nil, &missingCredentials{reason, "spec.auth." + field + ": " + fmt.Sprintf(format, args...)}, nil
	}
	switch {
	case value != "":
		return &value, nil, nil
	case ref.Optional != nil && *ref.Optional:
		return nil, nil, nil
	case err != nil:
		return missing(ReasonSecretMissing, "There is no Secret %s.", ref.Name)
	case !found:
		return missing(ReasonKeyMissing, "The Secret %s has no key %s.", ref.Name, ref.Key)
	default:
		return missing(ReasonKeyMissing, "The key %s of the Secret %s is empty.", ref.Key, ref.Name)
	}
}

// readMoved takes what was moved out of spec.auth.
func (c *controller) readMoved(ctx context.Context, nb *v1alpha1.JupyterNotebook, found *credentials) error {
	secret, err := c.movedSecret(ctx, nb)
	switch {
	case err != nil:
		return err
	case secret == nil && wasMoved(nb):
		found.live, found.moved = true, true
		found.missing = &missingCredentials{ReasonMovedMissing, fmt.Sprintf(
			"The Secret %s, into which the credentials of spec.auth were moved, is gone: apply them again, or remove spec.auth.", nb.Name+credentialsSuffix)}
		return nil
	case secret == nil:
		return nil
	}
	found.live, found.moved = true, true
	for key, into := range map[string]**string{tokenKey: &found.token, passwordKey: &found.password} {
		if data := secret.Data[key]; len(data) > 0 {
			value := string(data)
			*into = &value
		}
	}
	return nil
}

// movedSecret is nil if there is none.
func (c *controller) movedSecret(ctx context.Context, nb *v1alpha1.JupyterNotebook) (*corev1.Secret, error) {
	var secret corev1.Secret
	err := c.live.Get(ctx, client.ObjectKey{Namespace: nb.Namespace, Name: nb.Name + credentialsSuffix}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	var moved *corev1.Secret
	if ours(&secret, nb) == nil {
		moved = &secret
	}
	return moved, nil
}

// wasMoved reports whether status says that credentials were moved.
func wasMoved(nb *v1alpha1.JupyterNotebook) bool {
	said := apimeta.FindStatusCondition(nb.Status.Conditions, ConditionCredentials)
	return said != nil && (Reason(said.Reason) == ReasonMoved || Reason(said.Reason) == ReasonMovedMissing)
}

// forgetMoved removes the Secret with credentials that hold no longer.
func (c *controller) forgetMoved(ctx context.Context, nb *v1alpha1.JupyterNotebook) error {
	if !wasMoved(nb) {
		return nil
	}
	secret, err := c.movedSecret(ctx, nb)
	if err != nil || secret == nil {
		return err
	}
	err = c.client.Delete(ctx, secret, client.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete credentials: %w", err)
	}
	return nil
}

// renewAuth brings changed credentials to a server that runs: its Pod is made anew, which
// ends the sessions of whoever signed in with the former ones. Where one is missing, it
// goes on with those that it has.
func (c *controller) renewAuth(ctx context.Context, o *observed) error {
	found := o.credentials
	if !found.live || found.missing != nil {
		return nil
	}
	has := o.deployment.Spec.Template.Annotations[v1alpha1.AnnotationAuthVersion]
	by := deriver(c.issuer, has)
	if by == nil || has == authVersion(by, o.notebook, found) {
		return nil
	}
	want, err := c.authFiles(ctx, c.issuer, o.notebook, found)
	if err != nil {
		return err
	}
	return c.patchDeployment(ctx, o, func(d *appsv1.Deployment) {
		d.Spec.Template.Annotations[v1alpha1.AnnotationAuthVersion] = want
	})
}

// setCredentialsCondition says where a server's credentials are, or which are missing.
func setCredentialsCondition(o observed, next *v1alpha1.JupyterNotebookStatus) {
	found := o.credentials
	switch {
	case o.notebook.Spec.Stopped:
		return // not looked for
	case found.missing != nil:
		setCondition(o, next, ConditionCredentials, false, found.missing.reason, found.missing.message)
	case found.moved:
		setCondition(o, next, ConditionCredentials, true, ReasonMoved, fmt.Sprintf(
			"What stood in spec.auth was moved into the Secret %s.", o.notebook.Name+credentialsSuffix))
	case found.live:
		setCondition(o, next, ConditionCredentials, true, ReasonFound, "")
	default:
		apimeta.RemoveStatusCondition(&next.Conditions, ConditionCredentials)
	}
}
