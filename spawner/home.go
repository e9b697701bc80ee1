package spawner

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// Which claim is whose home. A home belongs to a person, not to a name: the
// claim bears the Hub user (AnnotationHubUser) and how the policy writes its
// name (AnnotationClaimTemplate), and a start looks for
//
//	the claim that the server has had, if the policy still writes it so;
//	a claim of this person by the same template (the user or server was renamed);
//	the claim of the name: theirs, or made by an administrator;
//	if it is not there yet, the one that KubeSpawner has left (kubespawner.go);
//	if it is another person's, one with a hash of the person in its name, empty at first.
//
// Where nobody can tell whose the claim of the name is, the start is refused. A home that is a
// directory of a claim is found in the same way (statichome.go).

// templateOf is how the policy names the home; ok is false without one.
func templateOf(req Request) (template string, ok bool) {
	if req.Storage == nil || req.Storage.Home == nil {
		return "", false
	}
	if static := req.Storage.Home.Static; static != nil {
		return staticTemplate(static), true
	}
	return req.Storage.Home.Claim, true
}

// personal tells that a claim is made for one person: its template is empty, for
// one server, or has {username} in it.
func personal(template string) bool {
	return template == "" || strings.Contains(template, v1alpha1.UsernameMark)
}

// homeClaim decides which claim, or which directory of a static home's, becomes the home of a
// start, and notes the person on one that is there already. nb is the server's object, nil if there
// is none yet, and name what it is or will be called. Errors: UnclearOwnerError,
// OtherHomesError.
func (s *Service) homeClaim(ctx context.Context, req Request, nb *v1alpha1.JupyterNotebook, name string) (string, error) {
	template, has := templateOf(req)
	switch {
	case !has:
		return "", nil
	case req.Storage.Home.Static != nil:
		return s.staticHome(ctx, req, nb)
	case !personal(template):
		return template, nil
	}
	if !req.HubUser.Known() {
		return s.claimByName(ctx, req, template, name)
	}
	if former := formerClaim(nb, template); former != "" {
		return explicit(former, name), s.noteNames(ctx, former, nb, req.Key, template)
	}
	own, err := s.ownClaim(ctx, req.Key, template)
	if err != nil {
		return "", err
	}
	if own != nil {
		return explicit(own.Name, name), s.noteOwner(ctx, own, req.Key, template)
	}
	for _, candidate := range claimCandidates(template, req.Key, name) {
		claim := &corev1.PersistentVolumeClaim{}
		err := s.live.Get(ctx, client.ObjectKey{Namespace: s.cfg.Namespace, Name: candidate.name}, claim)
		if apierrors.IsNotFound(err) {
			if candidate.formerly {
				continue
			}
			return s.firstHome(ctx, req, template, candidate.name, name)
		}
		if err != nil {
			return "", fmt.Errorf("read home volume: %w", err)
		}
		switch s.claimOwnership(claim, req, template) {
		case ownershipNone, ownershipOwn:
			return explicit(candidate.name, name), s.noteOwner(ctx, claim, req.Key, template)
		case ownershipUnclear:
			return "", &UnclearOwnerError{Claim: claim.Name, User: req.User, Owner: hubUserOf(claim), Made: claim.CreationTimestamp.Time}
		case ownershipOther:
		}
	}
	return "", ErrNameTaken
}

// claimByName is the claim for a Hub that does not say who a user is: that of
// the name, unless it says that it is another's.
func (s *Service) claimByName(ctx context.Context, req Request, template, notebook string) (string, error) {
	claim := &corev1.PersistentVolumeClaim{}
	name := claimOfName(template, req.User, notebook)
	err := s.live.Get(ctx, client.ObjectKey{Namespace: s.cfg.Namespace, Name: name}, claim)
	switch {
	case apierrors.IsNotFound(err):
		return s.firstHome(ctx, req, template, name, notebook)
	case err != nil:
		return "", fmt.Errorf("read home volume: %w", err)
	}
	switch s.claimOwnership(claim, req, template) {
	case ownershipOther, ownershipUnclear:
		return "", &UnclearOwnerError{Claim: name, User: req.User, Owner: hubUserOf(claim), Made: claim.CreationTimestamp.Time}
	case ownershipNone, ownershipOwn:
	}
	return explicit(name, notebook), nil
}

// firstHome is the claim of a person who has none yet: what KubeSpawner has left, or
// else a new one.
func (s *Service) firstHome(ctx context.Context, req Request, template, wanted, notebook string) (string, error) {
	left, err := s.kubeHome(ctx, req, template, wanted)
	if left == nil {
		return explicit(wanted, notebook), err
	}
	return explicit(left.Name, notebook), s.noteOwner(ctx, left, req.Key, template)
}

// claimOwnership is that of a claim for a server: one that was made for another
// server of the same person is not this one's, and one of an older KubeSpawner,
// whose label alone names a user, is not everybody's whose name it could be.
func (s *Service) claimOwnership(claim *corev1.PersistentVolumeClaim, req Request, template string) ownership {
	owned := ownershipOf(claim.Annotations, claim.CreationTimestamp.Time, s.requester(req))
	if label := claim.Labels[v1alpha1.LabelHubUsername]; owned == ownershipNone && label != "" && !namesUser(label, req.User) {
		return ownershipUnclear
	}
	server, noted := claim.Annotations[v1alpha1.LabelHubServername]
	if owned == ownershipOwn && template == "" && noted && server != req.Server {
		return ownershipOther
	}
	return owned
}

type claimCandidate struct {
	name string
	// formerly: it is looked at, for whose it is, but would not be made.
	formerly bool
}

// claimCandidates are the names under which a person's home may be or become,
// best first.
func claimCandidates(template string, k Key, notebook string) []claimCandidate {
	if template == "" && notebook != Name(k) {
		return []claimCandidate{{v1alpha1.DefaultHomeClaim(Name(k)), true}, {v1alpha1.DefaultHomeClaim(notebook), false}}
	}
	byName := claimOfName(template, k.User, notebook)
	return []claimCandidate{{byName, false}, {byName + "---" + podrules.Digest(hashDigits, k.HubUser.String()), false}}
}

// claimOfName is the claim that a template names for a user and a notebook.
func claimOfName(template, user, notebook string) string {
	if template == "" {
		return v1alpha1.DefaultHomeClaim(notebook)
	}
	return strings.ReplaceAll(template, v1alpha1.UsernameMark, userSlug(user))
}

// explicit is a claim as spec names it: not at all where it is named after the
// notebook.
func explicit(claim, notebook string) string {
	if claim == v1alpha1.DefaultHomeClaim(notebook) {
		return ""
	}
	return claim
}

// formerClaim is the claim that a server has had by the same template; empty if
// none is noted.
func formerClaim(nb *v1alpha1.JupyterNotebook, template string) string {
	if nb == nil || !hubUserOf(nb).Known() {
		return ""
	}
	if noted, ok := nb.Annotations[v1alpha1.AnnotationClaimTemplate]; !ok || noted != template {
		return ""
	}
	return nb.HomeClaim()
}

// ownClaim finds a person's claim by the template it was made from, nil if there
// is none: for one server if the template is empty, else for all of the person's.
func (s *Service) ownClaim(ctx context.Context, k Key, template string) (*corev1.PersistentVolumeClaim, error) {
	claims, err := s.claimsOf(ctx, k)
	if err != nil {
		return nil, err
	}
	for i := range claims {
		if isFor(&claims[i], k, template) {
			return &claims[i], nil
		}
	}
	return nil, nil
}

// isFor tells that a claim was made from a template for a server of its owner.
func isFor(claim *corev1.PersistentVolumeClaim, k Key, template string) bool {
	noted, ok := claim.Annotations[v1alpha1.AnnotationClaimTemplate]
	return ok && noted == template && claim.DeletionTimestamp == nil &&
		(template != "" || claim.Annotations[v1alpha1.LabelHubServername] == k.Server)
}

// claimsOf lists the home claims that are noted as a person's.
func (s *Service) claimsOf(ctx context.Context, k Key) ([]corev1.PersistentVolumeClaim, error) {
	if !k.HubUser.Known() {
		return nil, nil
	}
	var claims corev1.PersistentVolumeClaimList
	if err := s.live.List(ctx, &claims, client.InNamespace(s.cfg.Namespace), ofHubUser(k.HubUser)); err != nil {
		return nil, fmt.Errorf("list home volumes: %w", err)
	}
	var own []corev1.PersistentVolumeClaim
	for _, claim := range claims.Items {
		if hubUserOf(&claim).Is(k.HubUser) {
			own = append(own, claim)
		}
	}
	return own, nil
}

// noteNames writes on the claim that a server has had how its owner is called
// now, if that is not what it was.
func (s *Service) noteNames(ctx context.Context, name string, nb *v1alpha1.JupyterNotebook, k Key, template string) error {
	if nb.Spec.User == k.User && nb.Spec.Server == k.Server {
		return nil
	}
	claim := &corev1.PersistentVolumeClaim{}
	err := s.live.Get(ctx, client.ObjectKey{Namespace: s.cfg.Namespace, Name: name}, claim)
	if apierrors.IsNotFound(err) {
		return nil // made anew, with these names
	}
	if err != nil {
		return fmt.Errorf("read home volume: %w", err)
	}
	return s.noteOwner(ctx, claim, k, template)
}

// noteOwner writes on a claim whose it is and how its owner is called now.
func (s *Service) noteOwner(ctx context.Context, claim *corev1.PersistentVolumeClaim, k Key, template string) error {
	before := claim.DeepCopy()
	labels := objectLabels(claim.Labels[v1alpha1.LabelNotebook], k)
	for _, name := range []string{v1alpha1.LabelHubUserID, v1alpha1.LabelHubUsername, v1alpha1.LabelHubServername} {
		metav1.SetMetaDataLabel(&claim.ObjectMeta, name, labels[name])
	}
	claim.Annotations = merged(claim.Annotations, rawNames(k))
	claim.Annotations[v1alpha1.AnnotationClaimTemplate] = template
	delete(claim.Annotations, v1alpha1.AnnotationAdopt)
	delete(claim.Annotations, v1alpha1.AnnotationOwnerLeft)
	return s.patchClaim(ctx, before, claim)
}

// patchClaim writes what differs, if anything does.
func (s *Service) patchClaim(ctx context.Context, before, after *corev1.PersistentVolumeClaim) error {
	if equality.Semantic.DeepEqual(before, after) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := s.client.Patch(ctx, after, patch); err != nil {
		return fmt.Errorf("note the owner of home volume %s: %w", after.Name, err)
	}
	return nil
}

// removalOf is what becomes of a claim that a person has, when a server of theirs is
// removed. With the default server, the person is leaving the Hub. onRemoval is the
// policy's, empty if it says nothing.
func removalOf(claim *corev1.PersistentVolumeClaim, k Key, onRemoval string) claimRemoval {
	ours := claim.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy
	leaving := k.Server == ""
	switch {
	case isFor(claim, k, "") && ours && onRemoval != v1alpha1.HomeKeep:
		return removalDeletes
	case leaving && ours && onRemoval == v1alpha1.HomeDelete && claim.Annotations[v1alpha1.AnnotationClaimTemplate] != "":
		return removalDeletes
	case leaving, isFor(claim, k, ""):
		return removalKeeps
	}
	return removalOthers
}

type claimRemoval int

const (
	// removalOthers: it is another server's.
	removalOthers claimRemoval = iota
	removalKeeps
	removalDeletes
)

// removeClaims deletes the claims that were made for one server, or, with the default server,
// those that go with the person; those that stay say that their owner left. nb is nil if
// there is none.
func (s *Service) removeClaims(ctx context.Context, k Key, nb *v1alpha1.JupyterNotebook, notebook string) error {
	if err := s.leaveDirectories(ctx, k); err != nil {
		return err
	}
	claims, err := s.claimsOf(ctx, k)
	if err != nil {
		return err
	}
	for i := range claims {
		claim := &claims[i]
		switch removalOf(claim, k, onRemovalOf(claim, nb)) {
		case removalDeletes:
			if err := s.deleteClaim(ctx, claim); err != nil {
				return err
			}
		case removalKeeps:
			if err := s.noteOwnerLeft(ctx, claim); err != nil {
				return err
			}
		case removalOthers:
		}
	}
	// One of a release that did not note its owner.
	var claim corev1.PersistentVolumeClaim
	err = s.live.Get(ctx, client.ObjectKey{Namespace: s.cfg.Namespace, Name: v1alpha1.DefaultHomeClaim(notebook)}, &claim)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("read home volume: %w", err)
	case claim.Labels[v1alpha1.LabelNotebook] != notebook || claim.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBy,
		ownershipOf(claim.Annotations, claim.CreationTimestamp.Time, s.requester(Request{Key: k})) != ownershipOwn:
		return nil
	case onRemovalOf(&claim, nb) == v1alpha1.HomeKeep:
		return s.noteOwnerLeft(ctx, &claim)
	}
	return s.deleteClaim(ctx, &claim)
}

// onRemovalOf is what the last start has said: the claim may not have heard of it yet.
func onRemovalOf(claim *corev1.PersistentVolumeClaim, nb *v1alpha1.JupyterNotebook) string {
	if nb != nil && nb.HomeClaim() == claim.Name {
		return nb.Spec.Storage.Home.OnRemoval
	}
	return claim.Annotations[v1alpha1.AnnotationOnRemoval]
}

func (s *Service) noteOwnerLeft(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Annotations[v1alpha1.AnnotationOwnerLeft] != "" {
		return nil
	}
	before := claim.DeepCopy()
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, v1alpha1.AnnotationOwnerLeft, s.now().UTC().Format(time.RFC3339))
	return s.patchClaim(ctx, before, claim)
}

func (s *Service) deleteClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if err := s.client.Delete(ctx, claim, client.Preconditions{UID: &claim.UID}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete home volume: %w", err)
	}
	return nil
}
