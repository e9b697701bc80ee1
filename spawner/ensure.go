package spawner

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/tokens"
)

// environment checks that spec.envSecret is there and, when the Service wrote
// it, that it is of this very start; then makes the notebook its owner and adds the
// gateway's token. It returns where that is to be, and the path of the server's API.
func (c *controller) environment(ctx context.Context, nb *v1alpha1.JupyterNotebook) (tokenIn corev1.SecretKeySelector, prefix string, err error) {
	tokenIn = tokenAlone(nb)
	if nb.Spec.EnvSecret == "" {
		return tokenIn, prefixIn(nil), nil
	}
	secret, err := c.secretOfStart(ctx, nb, nb.Spec.EnvSecret)
	if err != nil {
		return tokenIn, "", err
	}
	prefix = prefixIn(secret.Data)
	if !isEnvOf(secret, nb.Name) {
		return tokenIn, prefix, nil // somebody's own
	}
	return tokenWith(secret), prefix, c.ownEnvironment(ctx, nb, secret)
}

// ownEnvironment makes the notebook the owner of the Secret that the Service wrote for its
// start, and adds the gateway's token, by one write.
func (c *controller) ownEnvironment(ctx context.Context, nb *v1alpha1.JupyterNotebook, env *corev1.Secret) error {
	owned := env.DeepCopy()
	if !metav1.IsControlledBy(env, nb) {
		owned.OwnerReferences = meta(nb, "").OwnerReferences
	}
	if nb.Spec.Gateway != nil {
		token, err := c.issueToken(nb)
		if err != nil {
			return err
		}
		if owned.Data == nil {
			owned.Data = map[string][]byte{}
		}
		owned.Data[envGatewayToken] = []byte(token)
	}
	if equality.Semantic.DeepEqual(env, owned) {
		return nil
	}
	if err := c.client.Patch(ctx, owned, podrules.PatchOver(env)); err != nil {
		return writeFault(err, "Secret")
	}
	return nil
}

func (c *controller) ensureClaim(ctx context.Context, o *observed) error {
	nb := o.notebook
	if nb.HomeClaim() == "" {
		return nil
	}
	if nb.Spec.Storage.Home.Static != nil {
		if o.claim == nil || o.claim.DeletionTimestamp != nil {
			return pending(ReasonWaitingForVolume, "The volume claim %s, in which homes are directories, is not there: an administrator makes it.", nb.HomeClaim())
		}
		return nil
	}
	if o.claim == nil {
		// A notebook that was just removed may still be in the cache; its
		// claim would have no owner and stay for ever.
		var now v1alpha1.JupyterNotebook
		switch err := c.live.Get(ctx, client.ObjectKeyFromObject(nb), &now); {
		case client.IgnoreNotFound(err) != nil:
			return fmt.Errorf("read notebook: %w", err)
		case err != nil || now.UID != nb.UID || now.DeletionTimestamp != nil:
			return pending(ReasonWaitingForRemoval, "The server is being removed.")
		}
		made := claim(nb)
		if err := c.client.Create(ctx, made); err != nil {
			return writeFault(err, "home volume")
		}
		o.claim = made
	}
	if o.claim.DeletionTimestamp != nil {
		return pending(ReasonWaitingForVolume, "The former volume %s is being removed.", o.claim.Name)
	}
	if isOthersHome(o.claim, nb) {
		return failed(ReasonVolumeTaken, "The volume %s belongs to another user.", o.claim.Name)
	}
	if err := c.noteOnRemoval(ctx, o); err != nil {
		return err
	}
	return c.growClaim(ctx, o)
}

// noteOnRemoval keeps what spec says on the claim, which may outlive its notebook. It does so
// once for each change of spec: notebooks that share a claim may say different things, and the
// last one counts.
func (c *controller) noteOnRemoval(ctx context.Context, o *observed) error {
	want := o.notebook.Spec.Storage.Home.OnRemoval
	if o.claim.Annotations[v1alpha1.AnnotationOnRemoval] == want || o.notebook.Status.ObservedGeneration == o.notebook.Generation {
		return nil
	}
	noted := o.claim.DeepCopy()
	metav1.SetMetaDataAnnotation(&noted.ObjectMeta, v1alpha1.AnnotationOnRemoval, want)
	if want == "" {
		delete(noted.Annotations, v1alpha1.AnnotationOnRemoval)
	}
	if err := c.client.Patch(ctx, noted, podrules.PatchOver(o.claim)); err != nil {
		return fmt.Errorf("note on the home volume what becomes of it: %w", err)
	}
	o.claim = noted
	return nil
}

// growClaim has a claim that was made for a notebook grow as spec does. What the cluster
// refuses stays as it is, and a condition says so.
func (c *controller) growClaim(ctx context.Context, o *observed) error {
	want := o.notebook.Spec.Storage.Home.Size
	if o.claim.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBy || o.claim.Spec.Resources.Requests.Storage().Cmp(want) >= 0 {
		return nil
	}
	grown := o.claim.DeepCopy()
	grown.Spec.Resources.Requests[corev1.ResourceStorage] = want.DeepCopy()
	err := c.client.Patch(ctx, grown, podrules.PatchOver(o.claim))
	switch {
	case err == nil:
		o.claim = grown
	case !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err):
		return fmt.Errorf("grow home volume: %w", err)
	}
	return nil
}

// claimDiffers is what of a home claim is not as spec has it, empty if all is. Only its
// size can be changed, and only to more.
func claimDiffers(nb *v1alpha1.JupyterNotebook, claim *corev1.PersistentVolumeClaim) string {
	if claim == nil || nb.HomeClaim() == "" || nb.Spec.Storage.Home.Static != nil || claim.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBy {
		return ""
	}
	home, have := nb.Spec.Storage.Home, claim.Spec
	switch {
	case have.Resources.Requests.Storage().Cmp(home.Size) != 0:
		return fmt.Sprintf("The home volume %s has %s and not %s: a volume cannot shrink, and grows only if its storage class allows that.", claim.Name, have.Resources.Requests.Storage(), &home.Size)
	case home.StorageClassName != nil && have.StorageClassName != nil && *home.StorageClassName != *have.StorageClassName:
		return fmt.Sprintf("The home volume %s has the storage class %s and not %s: that counts for a volume that is made anew.", claim.Name, *have.StorageClassName, *home.StorageClassName)
	case len(home.AccessModes) > 0 && !slices.Equal(home.AccessModes, have.AccessModes):
		return fmt.Sprintf("The home volume %s has the access modes %v and not %v: those count for a volume that is made anew.", claim.Name, have.AccessModes, home.AccessModes)
	case home.Selector != nil && !equality.Semantic.DeepEqual(home.Selector, have.Selector):
		return fmt.Sprintf("The home volume %s has another selector: that counts for a volume that is made anew.", claim.Name)
	}
	for _, key := range slices.Sorted(maps.Keys(home.Labels)) {
		if value := home.Labels[key]; claim.Labels[key] != value {
			return fmt.Sprintf("The home volume %s has not the label %s=%s: that counts for a volume that is made anew.", claim.Name, key, value)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(home.Annotations)) {
		if claim.Annotations[key] != home.Annotations[key] {
			return fmt.Sprintf("The home volume %s has not the annotation %s: that counts for a volume that is made anew.", claim.Name, key)
		}
	}
	return ""
}

// isOthersHome tells that a claim for one person is noted as another's. A claim
// made beforehand, or named in spec, bears no notes of ours. The Service has
// decided whose it is; this keeps what it decided.
func isOthersHome(claim *corev1.PersistentVolumeClaim, nb *v1alpha1.JupyterNotebook) bool {
	template, requested := nb.Annotations[v1alpha1.AnnotationClaimTemplate]
	if requested && !personal(template) || !requested && nb.Spec.Storage.Home.Claim != "" {
		return false
	}
	if owner := hubUserOf(claim); owner.Known() && hubUserOf(nb).Known() {
		return !owner.Is(hubUserOf(nb))
	}
	user, named := claim.Annotations[v1alpha1.LabelHubUsername]
	return named && user != nb.Spec.User
}

// forgetEnvironment removes the Secrets with the environment of a start that has
// stopped and with its certificates: token and keys are of no more use to anybody. Those of a
// newer start stay.
func (c *controller) forgetEnvironment(ctx context.Context, nb *v1alpha1.JupyterNotebook) error {
	for _, name := range []string{nb.Spec.EnvSecret, nb.Spec.SSLSecret} {
		if err := c.forgetSecret(ctx, nb, name); err != nil {
			return err
		}
	}
	return nil
}

func (c *controller) forgetSecret(ctx context.Context, nb *v1alpha1.JupyterNotebook, name string) error {
	if name == "" {
		return nil
	}
	var secret corev1.Secret
	err := c.live.Get(ctx, client.ObjectKey{Namespace: nb.Namespace, Name: name}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("read environment: %w", err)
	case !isEnvOf(&secret, nb.Name), secret.Annotations[v1alpha1.AnnotationStart] != nb.Spec.Start:
		return nil
	}
	err = c.client.Delete(ctx, &secret, client.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete environment: %w", err)
	}
	return nil
}

// authFiles makes the auth Secret by an issuer's key and returns the version of the credentials.
func (c *controller) authFiles(ctx context.Context, by *tokens.Issuer, nb *v1alpha1.JupyterNotebook, found credentials) (string, error) {
	if secret := authSecret(nb, found, accessToken(by, nb)); secret != nil {
		if err := c.ensureSecret(ctx, nb, secret); err != nil {
			return "", err
		}
	}
	return authVersion(by, nb, found), nil
}

func (c *controller) ensureSecret(ctx context.Context, nb *v1alpha1.JupyterNotebook, want *corev1.Secret) error {
	var have corev1.Secret
	err := c.live.Get(ctx, client.ObjectKeyFromObject(want), &have)
	if apierrors.IsNotFound(err) {
		if err := c.client.Create(ctx, want); err != nil {
			return writeFault(err, "Secret")
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read secret: %w", err)
	}
	if err := ours(&have, nb); err != nil {
		return err
	}
	if reflect.DeepEqual(have.Data, want.Data) {
		return nil
	}
	changed := have.DeepCopy()
	changed.Data, changed.Labels, changed.Annotations = want.Data, want.Labels, want.Annotations
	if err := c.client.Patch(ctx, changed, podrules.PatchOver(&have)); err != nil {
		return writeFault(err, "Secret")
	}
	return nil
}

// ours refuses objects that something else owns. What a former notebook of the
// same name owns is about to be collected.
func ours(object client.Object, nb *v1alpha1.JupyterNotebook) error {
	if metav1.IsControlledBy(object, nb) {
		return nil
	}
	if owner := metav1.GetControllerOf(object); owner != nil && owner.Kind == "JupyterNotebook" && owner.Name == nb.Name {
		return pending(ReasonWaitingForRemoval, "What is left of the former server of this name is being removed.")
	}
	return failed(ReasonNameTaken, "%s %s exists and belongs to something else.", reflect.TypeOf(object).Elem().Name(), object.GetName())
}

// serviceVersion is which version of a Service came of asking it to be what.
type serviceVersion struct{ version, wanted string }

func (c *controller) ensureService(ctx context.Context, nb *v1alpha1.JupyterNotebook) error {
	want := service(nb)
	name := client.ObjectKeyFromObject(want)
	have := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: want.Namespace, Name: want.Name}}
	err := c.createOrPatch(ctx, have, func() error {
		if have.UID != "" {
			if err := ours(have, nb); err != nil {
				return err
			}
			if known, found := c.services.Load(name); found && known == (serviceVersion{have.ResourceVersion, string(mustJSON(want))}) {
				return nil // a webhook that has made something else of it would do so again
			}
		}
		have.OwnerReferences = want.OwnerReferences
		have.Labels = merged(have.Labels, want.Labels)
		podrules.RestoreService(&have.Spec, &want.Spec)
		return nil
	})
	if err == nil {
		c.services.Store(name, serviceVersion{have.ResourceVersion, string(mustJSON(want))})
	}
	return writeFault(err, "Service")
}

// ensureDeployment replaces the template as a whole. It is called once for
// each generation of a notebook.
func (c *controller) ensureDeployment(ctx context.Context, o *observed, want *appsv1.Deployment) error {
	have := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: want.Namespace, Name: want.Name}}
	err := c.createOrPatch(ctx, have, func() error {
		if have.UID == "" {
			mark(want, 1, want.Spec)
			want.DeepCopyInto(have)
			return nil
		}
		if err := ours(have, o.notebook); err != nil {
			return err
		}
		keepRestart(&have.Spec, &want.Spec)
		mark(want, have.Generation+1, want.Spec)
		have.Labels, have.Annotations = merged(have.Labels, want.Labels), merged(have.Annotations, want.Annotations)
		kept := have.Spec.Selector // immutable
		want.Spec.DeepCopyInto(&have.Spec)
		have.Spec.Selector = kept
		return nil
	})
	if err != nil {
		return writeFault(err, "Deployment")
	}
	former := o.deployment
	o.deployment = have
	if former != nil && tokenOf(former, o.notebook) != tokenOf(have, o.notebook) {
		return c.forgetToken(ctx, o.notebook)
	}
	return nil
}

// createOrPatch brings an object, of which the name is given, to where change
// brings it; it writes only what differs, over the version that was read.
func (c *controller) createOrPatch(ctx context.Context, object client.Object, change func() error) error {
	err := c.client.Get(ctx, client.ObjectKeyFromObject(object), object)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read: %w", err)
	}
	before := object.DeepCopyObject().(client.Object)
	if fault := change(); fault != nil {
		return fault
	}
	switch {
	case err != nil:
		return c.client.Create(ctx, object)
	case equality.Semantic.DeepEqual(before, object):
		return nil
	default:
		return c.client.Patch(ctx, object, podrules.PatchOver(before))
	}
}

func merged(have, want map[string]string) map[string]string {
	all := maps.Clone(have)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, want)
	return all
}
