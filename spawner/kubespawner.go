package spawner

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// Homes that KubeSpawner has left. Before a person gets a new, empty home, those
// are looked for by every name that KubeSpawner has ever made of the user's, and by
// the labels that it puts on claims. testdata/kubespawner.json has its own answers.

// kubeClaim is a name that KubeSpawner may have given to a home.
type kubeClaim struct {
	name, server string
	// certain: no other user's home has that name, so that a claim without a note
	// of whose it is belongs to who asks.
	certain bool
}

// kubeClaims are the names of KubeSpawner's claims for a user's default server and
// for one server, by its own templates and by that of the policy.
func kubeClaims(template string, k Key) []kubeClaim {
	users := []struct {
		slug    string
		certain bool
	}{
		{safeUserServer(k.User, ""), true}, // from 7, {user_server}
		{safeSlug(k.User), true},
		{escapeSlug(k.User), true}, // before 7
		{dashed(k.User), false},    // {legacy_escape_username}
	}
	var found []kubeClaim
	add := func(name, server string, certain bool) {
		name = strings.TrimRight(name, "-")
		known := slices.ContainsFunc(found, func(c kubeClaim) bool { return c.name == name })
		if !known && len(validation.IsDNS1123Subdomain(name)) == 0 {
			found = append(found, kubeClaim{name, server, certain})
		}
	}
	for _, user := range users {
		if strings.Trim(user.slug, "-") == "" {
			continue
		}
		add("claim-"+user.slug, "", user.certain)
		if template != "" {
			add(strings.ReplaceAll(template, v1alpha1.UsernameMark, user.slug), "", user.certain)
		}
	}
	if k.Server == "" {
		return found
	}
	user, server := escapeSlug(k.User), escapeSlug(k.Server)
	add("claim-"+safeUserServer(k.User, k.Server), k.Server, true)
	add("claim-"+user+"--"+server, k.Server, true)
	// 0.8 to 0.11, and the charts of zero-to-jupyterhub before 4.
	add("claim-"+user+"-"+server, k.Server, false)
	add("claim-"+user+"-"+k.Server, k.Server, false)
	add("claim-"+user+escapeSlug("-"+k.Server), k.Server, false)
	add("claim-"+user+server, k.Server, false)
	return found
}

// kubeHome is the home that KubeSpawner has left for a start, nil if there is none.
// wanted is the claim that would be made. Errors: OtherHomesError, UnclearOwnerError.
func (s *Service) kubeHome(ctx context.Context, req Request, template, wanted string) (*corev1.PersistentVolumeClaim, error) {
	names := kubeClaims(template, req.Key)
	claims, err := s.kubeClaimsOf(ctx, req.User, names)
	if err != nil {
		return nil, err
	}
	var mine, others []*corev1.PersistentVolumeClaim
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		claim := claims[name]
		if claim.Annotations[v1alpha1.AnnotationAdopt] == req.User {
			return claim, nil
		}
		if claim.DeletionTimestamp != nil || claim.Annotations[v1alpha1.AnnotationOwnerLeft] != "" ||
			hubUserOf(claim).Known() || claim.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy {
			continue
		}
		server, certain := kubeServer(claim, names)
		switch s.claimOwnership(claim, req, template) {
		case ownershipOther:
			continue
		case ownershipUnclear:
			return nil, &UnclearOwnerError{Claim: name, User: req.User, Made: claim.CreationTimestamp.Time}
		case ownershipNone:
			certain = certain || namesUser(claim.Labels[v1alpha1.LabelHubUsername], req.User)
		case ownershipOwn:
			certain = true
		}
		switch {
		case template == "" && server != req.Server:
			// Every server has a home of its own.
		case certain && (template == "" || server == ""):
			mine = append(mine, claim)
		default:
			others = append(others, claim)
		}
	}
	if len(mine) == 1 {
		return mine[0], nil
	}
	if found := append(mine, others...); len(found) > 0 {
		refused := &OtherHomesError{Wanted: wanted, User: req.User}
		for _, claim := range found {
			refused.Found = append(refused.Found, claim.Name)
		}
		return nil, refused
	}
	return nil, nil
}

// kubeClaimsOf reads the claims of these names, and those that bear KubeSpawner's
// labels for the user.
func (s *Service) kubeClaimsOf(ctx context.Context, user string, names []kubeClaim) (map[string]*corev1.PersistentVolumeClaim, error) {
	found := map[string]*corev1.PersistentVolumeClaim{}
	var slugs []string
	for _, slug := range []string{labelSlug(user), escapeSlug(user)} {
		if len(validation.IsValidLabelValue(slug)) == 0 {
			slugs = append(slugs, slug)
		}
	}
	selector := labels.SelectorFromSet(labels.Set{"component": "singleuser-storage"})
	ofUser, err := labels.NewRequirement(v1alpha1.LabelHubUsername, selection.In, slugs)
	if err != nil {
		return nil, fmt.Errorf("look for homes of KubeSpawner: %w", err)
	}
	var labelled corev1.PersistentVolumeClaimList
	err = s.live.List(ctx, &labelled, client.InNamespace(s.cfg.Namespace), client.MatchingLabelsSelector{Selector: selector.Add(*ofUser)})
	if err != nil {
		return nil, fmt.Errorf("list homes of KubeSpawner: %w", err)
	}
	for i := range labelled.Items {
		found[labelled.Items[i].Name] = &labelled.Items[i]
	}
	for _, named := range names {
		if found[named.name] != nil {
			continue
		}
		claim := &corev1.PersistentVolumeClaim{}
		err := s.live.Get(ctx, client.ObjectKey{Namespace: s.cfg.Namespace, Name: named.name}, claim)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("read home of KubeSpawner: %w", err)
		}
		if !apierrors.IsNotFound(err) {
			found[named.name] = claim
		}
	}
	return found, nil
}

// kubeServer is the server that a claim was made for, and whether its name can be
// no other user's.
func kubeServer(claim *corev1.PersistentVolumeClaim, names []kubeClaim) (server string, certain bool) {
	i := slices.IndexFunc(names, func(c kubeClaim) bool { return c.name == claim.Name })
	if i >= 0 {
		server, certain = names[i].server, names[i].certain
	}
	if noted, there := kubeServerNote(claim); there {
		server = noted
	}
	return server, certain
}

// kubeServerNote is the server that KubeSpawner has noted on a claim. It notes none
// for a default server.
func kubeServerNote(claim metav1.Object) (string, bool) {
	if server, there := claim.GetAnnotations()[v1alpha1.LabelHubServername]; there {
		return server, true
	}
	_, user := claim.GetAnnotations()[v1alpha1.LabelHubUsername]
	return "", user
}

// namesUser tells that KubeSpawner may have written that label for the user.
func namesUser(label, user string) bool {
	return label != "" && (unescaped(label) == user || strings.Contains(label, "---") && label == labelSlug(user))
}

// OtherHomesError: KubeSpawner has left homes of a user, and it cannot be told which
// of them, if any, is to be the home that the policy names.
type OtherHomesError struct {
	// Wanted is the claim that the policy names, which does not exist.
	Wanted string
	// Found are the others, at least one.
	Found []string
	User  string
}

func (e *OtherHomesError) Error() string {
	return fmt.Sprintf("spawner: home %s of %s is not there, but %s", e.Wanted, e.User, strings.Join(e.Found, ", "))
}

// --- how KubeSpawner makes slugs (kubespawner/slugs.py)

const (
	kubeSlugLength = 48
	kubeHashDigits = 8
)

var (
	kubeObject = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	kubeLabel  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
)

// escapeSlug is that of KubeSpawner before 7.
func escapeSlug(name string) string {
	var slug strings.Builder
	for _, b := range []byte(name) {
		if isLowerOrDigit(b) {
			slug.WriteByte(b)
		} else {
			fmt.Fprintf(&slug, "-%02x", b)
		}
	}
	return slug.String()
}

// dashed is what its templates call {legacy_escape_username}.
func dashed(name string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && isLowerOrDigit(byte(r)) {
			return r
		}
		return '-'
	}, kubeLower(name))
}

func isLowerOrDigit(b byte) bool { return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' }

// kubeLower is Python's str.lower where it makes a difference to a slug.
func kubeLower(name string) string { return strings.ToLower(strings.ReplaceAll(name, "İ", "i\u0307")) }

// safeSlug is that of KubeSpawner 7 in names of objects.
func safeSlug(name string) string {
	if !strings.Contains(name, "--") && len(name) <= kubeSlugLength && kubeObject.MatchString(name) {
		return name
	}
	return kubeReadable(name, kubeSlugLength-len("---")-kubeHashDigits) + "---" + podrules.Digest(kubeHashDigits, name)
}

// labelSlug is that of KubeSpawner 7 in labels.
func labelSlug(name string) string {
	const limit = 32
	if !strings.Contains(name, "--") && kubeLabel.MatchString(name) {
		return name
	}
	return kubeReadable(name, limit-len("---")-kubeHashDigits) + "---" + podrules.Digest(kubeHashDigits, name)
}

// safeUserServer is what its templates call {user_server}. A server without a name
// takes the room of its two dashes, too.
func safeUserServer(user, server string) string {
	joined := safeSlug(user) + "--"
	if server != "" {
		joined += safeSlug(server)
	}
	if len(joined) <= kubeSlugLength {
		return strings.TrimSuffix(joined, "--")
	}
	const each = (kubeSlugLength-kubeHashDigits-1)/2 - 2
	return kubeReadable(user, each) + "--" + kubeReadable(server, each) + "---" + podrules.Digest(kubeHashDigits, user, server)
}

var kubeUnsafe = regexp.MustCompile(`[^a-z0-9]+`)

func kubeReadable(name string, limit int) string {
	text := strings.TrimLeft(kubeUnsafe.ReplaceAllString(kubeLower(name), "-"), "-")
	text = strings.TrimRight(text[:min(len(text), limit)], "-")
	if text != "" && (text[0] < 'a' || text[0] > 'z') {
		text = "x-" + text[:min(len(text), limit-2)]
	}
	if text == "" {
		return "x"
	}
	return text
}
