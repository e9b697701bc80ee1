package spawner

import (
	"cmp"
	"context"
	"fmt"
	"path"
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

// Whose a static home is, which is a directory of a claim that many share. Nothing can be noted
// on a directory: a ConfigMap for each bears what the claim of another home does, by the same
// names. It is made when somebody has the directory for the first time and stays after them, so
// that a freed name gets nobody else's files. What was in the volume before there was
// elastichub belongs to the user of the name, as it did.

// maxPathPart is how many bytes a name in a directory may have.
const maxPathPart = 255

// Keys of the data of such a ConfigMap.
const (
	homeClaimKey   = "claim"
	homeSubPathKey = "subPath"
)

// StaticHomeOf is the claim and the directory in it that a ConfigMap notes the owner of.
func StaticHomeOf(note *corev1.ConfigMap) (claim, subPath string) {
	return note.Data[homeClaimKey], note.Data[homeSubPathKey]
}

// staticTemplate is what AnnotationClaimTemplate says of a static home: no name of a claim
// has a slash.
func staticTemplate(home *v1alpha1.StaticHome) string { return home.Claim + "/" + home.SubPath }

// directory is a path of a policy written out for a server; suffix goes with the user's name.
func directory(subPath string, k Key, suffix string) string {
	mark := podrules.UserMark(subPath)
	name := userSlug(k.User)
	switch mark {
	case v1alpha1.SafeUsernameMark:
		name = safeSlug(k.User)
	case v1alpha1.EscapedUsernameMark:
		name = escapeSlug(k.User)
	}
	var parts []string
	for part := range strings.SplitSeq(subPath, "/") {
		if part == v1alpha1.ServernameMark {
			if k.Server == "" {
				continue
			}
			part = userSlug(k.Server)
		}
		if mark != "" && strings.Contains(part, mark) {
			written := strings.ReplaceAll(part, mark, name+suffix)
			if len(written) > maxPathPart { // KubeSpawner's own could not be mounted
				written = strings.ReplaceAll(part, mark, userSlug(k.User)+suffix)
			}
			part = written
		}
		parts = append(parts, part)
	}
	return path.Join(parts...)
}

// staticHome decides which directory becomes the home of a start, and notes the person. nb is
// the server's object, nil if there is none yet. Error: UnclearOwnerError.
func (s *Service) staticHome(ctx context.Context, req Request, nb *v1alpha1.JupyterNotebook) (string, error) {
	home := req.Storage.Home.Static
	template := staticTemplate(home)
	if former := formerDirectory(nb, req.Key, home); former != "" && nb.Spec.User == req.User && nb.Spec.Server == req.Server {
		return former, nil
	}
	own, err := s.ownDirectory(ctx, req.Key, home)
	if err != nil {
		return "", err
	}
	if own != nil {
		return own.Data[homeSubPathKey], s.noteDirectory(ctx, own, req.Key, template)
	}
	suffixes := []string{""}
	if req.HubUser.Known() {
		suffixes = append(suffixes, "---"+podrules.Digest(hashDigits, req.HubUser.String()))
	}
	for _, suffix := range suffixes {
		at := directory(home.SubPath, req.Key, suffix)
		made := s.directoryNote(home.Claim, at, req.Key, template)
		there := &corev1.ConfigMap{}
		err := s.live.Get(ctx, client.ObjectKeyFromObject(made), there)
		if apierrors.IsNotFound(err) {
			if err := s.client.Create(ctx, made); err != nil { // AlreadyExists: Start tries again
				return "", fmt.Errorf("note the owner of the home %s: %w", at, err)
			}
			return at, nil
		}
		if err != nil {
			return "", fmt.Errorf("read whose the home %s is: %w", at, err)
		}
		if there.Data[homeClaimKey] != home.Claim || there.Data[homeSubPathKey] != at {
			return "", ErrNameTaken
		}
		switch ownershipOf(there.Annotations, there.CreationTimestamp.Time, s.requester(req)) {
		case ownershipOwn:
			return at, s.noteDirectory(ctx, there, req.Key, template)
		case ownershipNone, ownershipUnclear:
			return "", &UnclearOwnerError{Claim: there.Name, Static: template, User: req.User, Owner: hubUserOf(there), Made: there.CreationTimestamp.Time}
		case ownershipOther:
		}
	}
	return "", ErrNameTaken
}

// formerDirectory is the directory that a server has had by the same policy, empty if none
// is noted.
func formerDirectory(nb *v1alpha1.JupyterNotebook, k Key, home *v1alpha1.StaticHome) string {
	if nb == nil || nb.Spec.Storage == nil || nb.Spec.Storage.Home == nil || nb.Spec.Storage.Home.Static == nil || !hubUserOf(nb).Is(k.HubUser) {
		return ""
	}
	had := nb.Spec.Storage.Home.Static
	if nb.Annotations[v1alpha1.AnnotationClaimTemplate] != staticTemplate(home) || had.Claim != home.Claim {
		return ""
	}
	return had.SubPath
}

// ownDirectory is what notes the directory of a person by the path of a policy, nil if there
// is none.
func (s *Service) ownDirectory(ctx context.Context, k Key, home *v1alpha1.StaticHome) (*corev1.ConfigMap, error) {
	notes, err := s.directoriesOf(ctx, k)
	if err != nil {
		return nil, err
	}
	for i := range notes {
		if isDirectoryFor(&notes[i], k, home) {
			return &notes[i], nil
		}
	}
	return nil, nil
}

func isDirectoryFor(note *corev1.ConfigMap, k Key, home *v1alpha1.StaticHome) bool {
	return note.Annotations[v1alpha1.AnnotationClaimTemplate] == staticTemplate(home) && note.Data[homeClaimKey] == home.Claim &&
		note.DeletionTimestamp == nil && (!ofOneServer(staticTemplate(home)) || note.Annotations[v1alpha1.LabelHubServername] == k.Server)
}

// ofOneServer tells that each server of a user has a static home of its own by this template.
func ofOneServer(template string) bool { return strings.Contains(template, v1alpha1.ServernameMark) }

// directoriesOf lists what notes the static homes of a person.
func (s *Service) directoriesOf(ctx context.Context, k Key) ([]corev1.ConfigMap, error) {
	if !k.HubUser.Known() {
		return nil, nil
	}
	var notes corev1.ConfigMapList
	err := s.live.List(ctx, &notes, client.InNamespace(s.cfg.Namespace), client.HasLabels{v1alpha1.LabelStaticHome}, ofHubUser(k.HubUser))
	if err != nil {
		return nil, fmt.Errorf("list static homes: %w", err)
	}
	var own []corev1.ConfigMap
	for _, note := range notes.Items {
		if hubUserOf(&note).Is(k.HubUser) {
			own = append(own, note)
		}
	}
	return own, nil
}

// directoryNote says whose a directory of a claim is.
func (s *Service) directoryNote(claim, at string, k Key, template string) *corev1.ConfigMap {
	note := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.cfg.Namespace,
			Name:      "home-" + podrules.Readable(k.User, maxSlug) + "---" + podrules.Digest(2*hashDigits, claim, at),
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelName: v1alpha1.AppName, v1alpha1.LabelComponent: v1alpha1.ComponentHome,
				v1alpha1.LabelStaticHome: podrules.ObjectLabel(claim),
			},
		},
		Data: map[string]string{homeClaimKey: claim, homeSubPathKey: at},
	}
	writeOwner(note, k, template)
	return note
}

// writeOwner writes on the note of a static home whose it is and how they are called now.
func writeOwner(note *corev1.ConfigMap, k Key, template string) {
	labels := objectLabels("", k)
	for _, name := range []string{v1alpha1.LabelHubUserID, v1alpha1.LabelHubUsername, v1alpha1.LabelHubServername} {
		metav1.SetMetaDataLabel(&note.ObjectMeta, name, labels[name])
	}
	note.Annotations = merged(note.Annotations, rawNames(k))
	note.Annotations[v1alpha1.AnnotationClaimTemplate] = template
	delete(note.Annotations, v1alpha1.AnnotationAdopt)
	delete(note.Annotations, v1alpha1.AnnotationOwnerLeft)
}

func (s *Service) noteDirectory(ctx context.Context, note *corev1.ConfigMap, k Key, template string) error {
	after := note.DeepCopy()
	writeOwner(after, k, template)
	return s.patchDirectory(ctx, note, after)
}

func (s *Service) patchDirectory(ctx context.Context, before, after *corev1.ConfigMap) error {
	if equality.Semantic.DeepEqual(before, after) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := s.client.Patch(ctx, after, patch); err != nil {
		return fmt.Errorf("note the owner of the home %s: %w", cmp.Or(after.Data[homeSubPathKey], after.Name), err)
	}
	return nil
}

// leaveDirectories notes that the owner of static homes has left, of those that a server had
// for itself or, with the default server, of all. The directories stay.
func (s *Service) leaveDirectories(ctx context.Context, k Key) error {
	notes, err := s.directoriesOf(ctx, k)
	if err != nil {
		return err
	}
	for i := range notes {
		note := &notes[i]
		own := ofOneServer(note.Annotations[v1alpha1.AnnotationClaimTemplate]) && note.Annotations[v1alpha1.LabelHubServername] == k.Server
		if k.Server != "" && !own || note.Annotations[v1alpha1.AnnotationOwnerLeft] != "" {
			continue
		}
		after := note.DeepCopy()
		metav1.SetMetaDataAnnotation(&after.ObjectMeta, v1alpha1.AnnotationOwnerLeft, s.now().UTC().Format(time.RFC3339))
		if err := s.patchDirectory(ctx, note, after); err != nil {
			return err
		}
	}
	return nil
}

// renameDirectories gives what notes the static homes of one server the server's new name.
func (s *Service) renameDirectories(ctx context.Context, k, renamed Key) error {
	notes, err := s.directoriesOf(ctx, k)
	if err != nil {
		return err
	}
	for i := range notes {
		template := notes[i].Annotations[v1alpha1.AnnotationClaimTemplate]
		if ofOneServer(template) && notes[i].Annotations[v1alpha1.LabelHubServername] == k.Server {
			if err := s.noteDirectory(ctx, &notes[i], renamed, template); err != nil {
				return err
			}
		}
	}
	return nil
}
