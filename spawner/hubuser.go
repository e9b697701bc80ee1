package spawner

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// HubUser is a person as the Hub's database knows them, whatever they are
// called now. The zero value is nobody: the Hub did not say.
//
// An id alone does not tell two people apart: ids start again with a new
// database. JupyterHub's orm.User has both, id and created; created is the
// zero time for users from before there was such a column (JupyterHub 0.8).
type HubUser struct {
	ID int64
	// Created is in seconds since 1970; some databases keep no more.
	Created int64
}

// Known reports whether this is anybody.
func (u HubUser) Known() bool { return u.ID != 0 }

// Is reports whether two are the same person. A database may have rounded the time.
func (u HubUser) Is(other HubUser) bool {
	return u.Known() && u.ID == other.ID && u.Created-other.Created <= 1 && other.Created-u.Created <= 1
}

// String is what AnnotationHubUser holds; empty for nobody.
func (u HubUser) String() string {
	if !u.Known() {
		return ""
	}
	return strconv.FormatInt(u.ID, 10) + "@" + time.Unix(u.Created, 0).UTC().Format(time.RFC3339)
}

// ParseHubUser reads what String writes, and fractions of seconds too; "" is nobody.
func ParseHubUser(text string) (HubUser, error) {
	if text == "" {
		return HubUser{}, nil
	}
	number, moment, _ := strings.Cut(text, "@")
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil || id <= 0 {
		return HubUser{}, fmt.Errorf("spawner: the id of Hub user %q is not a positive number", text)
	}
	created, err := time.Parse(time.RFC3339, moment)
	if err != nil {
		return HubUser{}, fmt.Errorf("spawner: the time of Hub user %q is not RFC 3339", text)
	}
	return HubUser{ID: id, Created: created.Unix()}, nil
}

// clockSkew is how far the Hub's clock and the API server's may differ where
// nothing but their times tells whose an object is.
const clockSkew = time.Minute

// ownership is whose an object is, as seen by the person who asks for it.
type ownership int

const (
	// ownershipNone: nobody is named. An administrator made it, and its name says for whom.
	ownershipNone ownership = iota
	// ownershipOwn: it is the requester's.
	ownershipOwn
	// ownershipOther: it is somebody else's.
	ownershipOther
	// ownershipUnclear: it is of somebody of the same name, and nothing tells who.
	ownershipUnclear
)

// requester is the person who asks, and what else the Hub knows of people.
type requester struct {
	Key
	// others are Hub users of today who are known to be somebody else.
	others []HubUser
	// adoptBefore: what was made before and names the requester is theirs.
	adoptBefore time.Time
}

// ownershipOf reads whose an object is from its annotations. Objects of
// releases that did not note it, and claims of KubeSpawner, name a user only:
// they are the requester's if the requester was a user of the Hub when they were made.
func ownershipOf(notes map[string]string, made time.Time, who requester) ownership {
	named, hasName := notes[v1alpha1.LabelHubUsername]
	noted, err := ParseHubUser(notes[v1alpha1.AnnotationHubUser])
	switch {
	case notes[v1alpha1.AnnotationAdopt] == who.User:
		return ownershipOwn
	case noted.Is(who.HubUser):
		return ownershipOwn
	case err != nil:
		return ownershipUnclear
	case !noted.Known() && !hasName:
		return ownershipNone
	case !noted.Known() && named != who.User:
		return ownershipOther
	case !who.HubUser.Known():
		// A Hub of a former release: the name is all there is.
		if named == who.User {
			return ownershipOwn
		}
		return ownershipOther
	case named == who.User && made.Before(who.adoptBefore):
		return ownershipOwn
	case noted.Known():
		return otherOwner(noted, notes, who)
	case !made.Before(time.Unix(who.HubUser.Created, 0).Add(-clockSkew)):
		return ownershipOwn
	default:
		return ownershipUnclear
	}
}

// notebookOwnership is that of a JupyterNotebook, which names its user in spec, too.
func notebookOwnership(nb *v1alpha1.JupyterNotebook, who requester) ownership {
	notes := merged(nb.Annotations, map[string]string{v1alpha1.LabelHubUsername: nb.Spec.User})
	return ownershipOf(notes, nb.CreationTimestamp.Time, who)
}

// hubUserOf is the Hub user noted on an object; nobody if none can be read.
func hubUserOf(o metav1.Object) HubUser {
	noted, err := ParseHubUser(o.GetAnnotations()[v1alpha1.AnnotationHubUser])
	if err != nil {
		return HubUser{}
	}
	return noted
}

// otherOwner judges an object that a Hub user is noted on who is not the requester.
func otherOwner(noted HubUser, notes map[string]string, who requester) ownership {
	if notes[v1alpha1.AnnotationOwnerLeft] != "" || notes[v1alpha1.LabelHubUsername] != who.User {
		return ownershipOther
	}
	for _, other := range who.others {
		if noted.Is(other) {
			return ownershipOther
		}
	}
	return ownershipUnclear
}

// UnclearOwnerError: a home is of somebody who had the user's name, and it cannot be
// told whether that was the same person. It is neither given away nor passed by.
type UnclearOwnerError struct {
	// Claim is the PersistentVolumeClaim, or the ConfigMap that says whose a static home is;
	// User the name that both have or had.
	Claim, User string
	// Static is claim and path of a static home, as the policy has them; empty for others.
	Static string
	// Owner is who is noted on the claim; nobody if it was made by a release, or a
	// spawner, that notes only names. If the Hub says that Owner is somebody else
	// today, the next start with Request.Others gets an empty home.
	Owner HubUser
	Made  time.Time
}

func (e *UnclearOwnerError) Error() string {
	return fmt.Sprintf("spawner: home %s of %s, made %s for Hub user %q, may be of somebody else", e.Claim, e.User, e.Made.UTC().Format(time.RFC3339), e.Owner)
}
