package homes

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/spawner/orphans"
)

// Standing is what is known of a home's user.
type Standing string

// The standings.
const (
	Present Standing = "present"
	Left    Standing = "left"
	// Unclear: they left, or were renamed, and nothing tells which.
	Unclear Standing = "unclear"
	// Unknown: nobody can be asked, or the home is of nobody whom the Hub or the directory would know.
	Unknown Standing = "unknown"
)

// Reason is why somebody is gone.
type Reason string

// The reasons.
const (
	HubUserGone       Reason = "HubUserGone"
	DirectoryUserGone Reason = "DirectoryUserGone"
)

// Home is a claim, or a directory of one, and what is known of it.
type Home struct {
	// Claim is the home's own, and Note, of a static home, the ConfigMap that notes whose it is. One of
	// them is there.
	Claim *corev1.PersistentVolumeClaim
	Note  *corev1.ConfigMap
	// User is what they are called now, as far as is known.
	User     string
	Standing Standing
	Reason   Reason
	// Message is a sentence for people, of one who left or is unclear.
	Message string
	// ByPerson: the Hub was asked after the person whom the claim notes, so that a rename is none of leaving.
	ByPerson bool
	// Servers are the notebooks that have it as their home; Running are those that are not stopped.
	Servers, Running []string
	// Mounted: a Pod has it.
	Mounted bool
	// LastUse is zero if it is not known.
	LastUse time.Time
	// runAs is the user that its servers run as, where their Pods say so.
	runAs *int64
}

// Object is what is noted on.
func (h Home) Object() client.Object {
	if h.Note != nil {
		return h.Note
	}
	return h.Claim
}

// Volume is the name of the claim that it is in, and the directory of that, empty for all of it.
func (h Home) Volume() (claim, directory string) {
	if h.Note != nil {
		return spawner.StaticHomeOf(h.Note)
	}
	return h.Claim.Name, ""
}

// ErrImplausible: so many people have vanished at once, or all, that it is not believed.
var ErrImplausible = errors.New("homes: too many people with homes have vanished at once to be believed")

// Answers are what Hub and directory say; nil: that one cannot be asked.
type Answers struct {
	People []orphans.Person
	// Directory tells of names whether it knows them.
	Directory map[string]bool
}

// GoneSince is when somebody was noted as gone; zero if they are not.
func (h Home) GoneSince() time.Time {
	since, err := time.Parse(time.RFC3339, h.Object().GetAnnotations()[v1alpha1.AnnotationUserGone])
	if err != nil {
		return time.Time{}
	}
	return since
}

// Archived is the file of an archive that has all of the home, if there is one: no server has used it since.
func (h Home) Archived() (file string, ok bool) {
	begun, file, _ := strings.Cut(h.Object().GetAnnotations()[v1alpha1.AnnotationArchived], " ")
	at, err := time.Parse(time.RFC3339, begun)
	return file, err == nil && file != "" && !h.LastUse.After(at)
}

// Stays says why a home of somebody who left is not removed whatever the mode is; empty: nothing
// keeps it.
func (h Home) Stays() string {
	switch {
	case h.Object().GetLabels()[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBy:
		return "elastichub has not made it"
	case h.Object().GetAnnotations()[v1alpha1.AnnotationOnRemoval] == v1alpha1.HomeKeep:
		return "its policy keeps it"
	case !h.ByPerson:
		return "it cannot be told whether its user was renamed: the Hub is not asked, or the claim notes no person"
	case len(h.Running) > 0:
		return "the server " + h.Running[0] + " runs"
	case h.Mounted:
		return "a Pod has it"
	}
	return ""
}

// userOf is who a home was made for; ok is false if that is nobody whom the Hub has sent.
func userOf(home client.Object) (name string, noted spawner.HubUser, ok bool) {
	notes := home.GetAnnotations()
	name = notes[v1alpha1.LabelHubUsername]
	noted, err := spawner.ParseHubUser(notes[v1alpha1.AnnotationHubUser])
	_, ofHub := notes[v1alpha1.AnnotationClaimTemplate]
	_, handedOver := notes[v1alpha1.AnnotationAdopt]
	return name, noted, name != "" && ofHub && !handedOver && err == nil
}

// callNow is what somebody is called now. Of those whom the Hub made in the same second and that
// are noted as nobody else it cannot be told which they are, if there is more than one.
func callNow(name string, noted spawner.HubUser, people []orphans.Person, known map[string][]spawner.HubUser) (now string, standing Standing) {
	var renamed []string
	for _, p := range people {
		same := noted.Is(spawner.HubUser{ID: noted.ID, Created: p.Created})
		switch {
		case p.Name == name && (same || !noted.Known()):
			return name, Present
		case same && !slices.ContainsFunc(known[p.Name], func(other spawner.HubUser) bool { return other.ID != noted.ID }):
			renamed = append(renamed, p.Name)
		}
	}
	switch len(renamed) {
	case 0:
		return name, Left
	case 1:
		return renamed[0], Present
	}
	return name, Unclear
}

// judge says of each home whether its user is there.
func judge(found []Home, answers Answers) {
	known := map[string][]spawner.HubUser{}
	for _, h := range found {
		if name, noted, ok := userOf(h.Object()); ok && noted.Known() {
			known[name] = append(known[name], noted)
		}
	}
	for i := range found {
		h := &found[i]
		name, noted, ok := userOf(h.Object())
		h.User, h.Standing = name, Unknown
		if !ok {
			continue
		}
		h.ByPerson = answers.People != nil && noted.Known()
		if answers.People != nil {
			h.User, h.Standing = callNow(name, noted, answers.People, known)
			switch h.Standing {
			case Left:
				h.Reason, h.Message = HubUserGone, fmt.Sprintf("The Hub does not know %s any more, whose home this is.", name)
				continue
			case Unclear:
				h.Message = fmt.Sprintf("The Hub does not know %s any more, whose home this is. They may have been renamed, since the Hub made others in the same second: an administrator decides.", name)
				continue
			case Present, Unknown:
			}
		}
		there, asked := answers.Directory[h.User]
		switch {
		case asked && there:
			h.Standing = Present
		case asked:
			h.Standing, h.Reason, h.Message = Left, DirectoryUserGone, fmt.Sprintf("The directory does not know %s any more, whose home this is.", h.User)
		}
	}
}

// plausible: somebody is known, and no more than a share of people have vanished who were not
// noted as gone before. Error: ErrImplausible.
func plausible(found []Home, mostPercent int) error {
	people, gone, newly := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, h := range found {
		if h.Standing == Unknown || h.Standing == Unclear {
			continue
		}
		who := strings.Join([]string{h.Object().GetAnnotations()[v1alpha1.LabelHubUsername], h.Object().GetAnnotations()[v1alpha1.AnnotationHubUser]}, "\n")
		people[who] = true
		if h.Standing == Left {
			gone[who] = true
			if h.GoneSince().IsZero() {
				newly[who] = true
			}
		}
	}
	switch most := max(1, len(people)*mostPercent/100); {
	case len(people) > 0 && len(gone) == len(people):
		return fmt.Errorf("%w: none of %d is known", ErrImplausible, len(people))
	case len(newly) > most:
		return fmt.Errorf("%w: %d of %d, and homes.left.mostPercent lets %d", ErrImplausible, len(newly), len(people), most)
	}
	return nil
}
