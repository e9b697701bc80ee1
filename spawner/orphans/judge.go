package orphans

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/spawner"
)

// Person is a user as the Hub lists them.
type Person struct {
	Name string
	// Created is when the Hub made them, in seconds since 1970.
	Created int64
	// Servers are all that the Hub knows of theirs, stopped ones included.
	Servers map[string]ServerState
}

// ServerState is what the Hub says of a server that it knows.
type ServerState string

// What the Hub says.
const (
	// Active: it starts, runs, stops, is looked at, or nobody can tell.
	Active  ServerState = "active"
	Stopped ServerState = "stopped"
)

// Hub is asked about its users.
type Hub interface {
	// People lists all of them, or fails. Error: spawner.ErrHubScopes.
	People(ctx context.Context) ([]Person, error)
	// TokenWorks tells whether the Hub takes a server's token.
	TokenWorks(ctx context.Context, token string) (bool, error)
}

// ErrImplausible: the Hub knows so few of the notebooks' users that it is not believed. Its
// database was made anew, or it is another Hub.
var ErrImplausible = errors.New("orphans: the Hub knows too few of the notebooks' users to be believed")

// Reason is why a notebook may be an orphan.
type Reason string

// The reasons.
const (
	UserGone   Reason = "HubUserGone"
	ServerGone Reason = "HubServerGone"
	// ServerStopped: it runs, and by the Hub it does not. The Hub has given its stop up, or was
	// ended before it asked for one.
	ServerStopped Reason = "HubServerStopped"
	// Unclear: its user was deleted, or renamed, and nothing tells which.
	Unclear = Reason(v1alpha1.ReasonHubUserUnclear)
)

// Orphan is a notebook that the Hub does not know.
type Orphan struct {
	Notebook *v1alpha1.JupyterNotebook
	Reason   Reason
	// Message is a sentence for people.
	Message string
}

// skew is how far clocks may differ. A notebook that is younger than a listing, or nearly
// so, was not there to be listed.
const skew = 10 * time.Second

// judge looks for every notebook of the Hub among the Hub's people, who were listed since
// asked. Error: ErrImplausible.
func judge(notebooks []v1alpha1.JupyterNotebook, people []Person, asked time.Time) ([]Orphan, error) {
	byName := map[string]Person{}
	for _, p := range people {
		byName[p.Name] = p
	}
	noted := notedUsers(notebooks)
	var found []Orphan
	users, gone := map[string]bool{}, map[string]bool{}
	for i := range notebooks {
		nb := &notebooks[i]
		if !nb.IsOfHub() || nb.Spec.User == "" || nb.DeletionTimestamp != nil || nb.Malformed() != nil {
			continue
		}
		person := nb.Spec.User + "\n" + nb.Annotations[v1alpha1.AnnotationHubUser]
		users[person] = true
		reason, message := unknown(nb, people, byName, noted, asked)
		if reason == UserGone {
			gone[person] = true
		}
		// The listing may be older than the notebook.
		if reason != "" && nb.CreationTimestamp.Before(before(asked)) {
			found = append(found, Orphan{nb, reason, message})
		}
	}
	if known := len(users) - len(gone); len(people) == 0 || 2*known < len(users) {
		return found, fmt.Errorf("%w: %d of %d", ErrImplausible, known, len(users))
	}
	return found, nil
}

// notedUsers are the Hub users that are noted on notebooks, by what they are called there.
func notedUsers(notebooks []v1alpha1.JupyterNotebook) map[string][]spawner.HubUser {
	noted := map[string][]spawner.HubUser{}
	for i := range notebooks {
		if user := hubUserOf(&notebooks[i]); user.Known() {
			noted[notebooks[i].Spec.User] = append(noted[notebooks[i].Spec.User], user)
		}
	}
	return noted
}

func hubUserOf(nb *v1alpha1.JupyterNotebook) spawner.HubUser {
	user, err := spawner.ParseHubUser(nb.Annotations[v1alpha1.AnnotationHubUser])
	if err != nil {
		return spawner.HubUser{}
	}
	return user
}

// unknown tells why the Hub does not know a notebook, or not that it runs; no reason: it does.
func unknown(nb *v1alpha1.JupyterNotebook, people []Person, byName map[string]Person, noted map[string][]spawner.HubUser, asked time.Time) (Reason, string) {
	user, name := hubUserOf(nb), nb.Spec.User
	userGone := fmt.Sprintf("The Hub does not know the server's user %s any more.", name)
	namesake, there := byName[name]
	if !user.Known() { // a former release's: the name is all there is
		if !there {
			return UserGone, userGone
		}
		return ofPerson(nb, namesake, asked)
	}
	if there && isPerson(user, namesake) {
		return ofPerson(nb, namesake, asked)
	}
	// Renamed, perhaps: who was made at that time and is not noted as somebody else.
	var renamed []Person
	for _, p := range people {
		if isPerson(user, p) && !isOther(user, noted[p.Name]) {
			renamed = append(renamed, p)
		}
	}
	switch {
	case len(renamed) == 0:
		return UserGone, userGone
	case len(renamed) == 1:
		return ofPerson(nb, renamed[0], asked)
	}
	return Unclear, fmt.Sprintf("The Hub does not know the server's user %s any more. They may have been renamed, since the Hub made %d others in the same second: "+
		"an administrator decides whether the notebook is to be deleted.", name, len(renamed))
}

// ofPerson tells whether the Hub knows a server of somebody whom it knows, and that it runs. The
// default server is theirs as long as they are there.
func ofPerson(nb *v1alpha1.JupyterNotebook, p Person, asked time.Time) (Reason, string) {
	state, listed := p.Servers[nb.Spec.Server]
	switch {
	case !listed && nb.Spec.Server != "":
		return ServerGone, fmt.Sprintf("The Hub does not know a server %s of %s any more.", nb.Spec.Server, p.Name)
	case runsSince(nb, before(asked)) && (!listed || state == Stopped):
		return ServerStopped, "The server runs, and the Hub says that it is stopped: nobody comes to it through the Hub."
	}
	return "", ""
}

// runsSince tells that the notebook's last start was begun before that time, and has not ended.
func runsSince(nb *v1alpha1.JupyterNotebook, when *metav1.Time) bool {
	switch nb.Status.Phase {
	case v1alpha1.NotebookPending, v1alpha1.NotebookStarting, v1alpha1.NotebookReady:
		return !nb.Spec.Stopped && nb.Status.Start == nb.Spec.Start && nb.Status.StartTime.Before(when)
	case v1alpha1.NotebookStopping, v1alpha1.NotebookStopped, v1alpha1.NotebookFailed:
	}
	return false
}

func isPerson(user spawner.HubUser, p Person) bool {
	return user.Is(spawner.HubUser{ID: user.ID, Created: p.Created})
}

// isOther tells that somebody's notebooks are noted as another's of the same second.
func isOther(user spawner.HubUser, noted []spawner.HubUser) bool {
	for _, other := range noted {
		if other.ID != user.ID {
			return true
		}
	}
	return false
}
