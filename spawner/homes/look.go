package homes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/spawner/orphans"
)

const (
	// lookTime bounds one look, and askAtOnce how many names the directory is asked for at a time.
	lookTime  = 10 * time.Minute
	askAtOnce = 8
)

// Hub lists all of its users, or fails.
type Hub interface {
	People(ctx context.Context) ([]orphans.Person, error)
}

// Directory tells whether it knows somebody, or fails.
type Directory interface {
	Knows(ctx context.Context, user string) (bool, error)
}

// Sources are who is asked after people; nil is not asked.
type Sources struct {
	Hub       Hub
	Directory Directory
}

// any tells that somebody can be asked.
func (s Sources) any() bool { return s.Hub != nil || s.Directory != nil }

// Look lists the homes of people in a namespace, and says who of them left. Errors: those of the
// Hub and the directory; then nothing is known of anybody.
func Look(ctx context.Context, reader client.Reader, sources Sources, namespace string, now time.Time) ([]Home, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	found, err := gather(ctx, reader, namespace, now)
	if err != nil {
		return nil, err
	}
	answers, err := ask(ctx, sources, found)
	if err != nil {
		return found, err
	}
	judge(found, answers)
	return found, nil
}

// gather reads claims that are somebody's, and what is known of their use.
func gather(ctx context.Context, reader client.Reader, namespace string, now time.Time) ([]Home, error) {
	var claims corev1.PersistentVolumeClaimList
	if err := reader.List(ctx, &claims, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list claims: %w", err)
	}
	var notebooks v1alpha1.JupyterNotebookList
	if err := reader.List(ctx, &notebooks, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list notebooks: %w", err)
	}
	var pods corev1.PodList
	if err := reader.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	mounted := map[string]bool{}
	for i := range pods.Items {
		for _, volume := range pods.Items[i].Spec.Volumes {
			if volume.PersistentVolumeClaim != nil {
				mounted[volume.PersistentVolumeClaim.ClaimName] = true
			}
		}
	}
	var found []Home
	for i := range claims.Items {
		claim := &claims.Items[i]
		if claim.Annotations[v1alpha1.LabelHubUsername] == "" || claim.DeletionTimestamp != nil {
			continue
		}
		h := Home{Claim: claim, User: claim.Annotations[v1alpha1.LabelHubUsername], Standing: Unknown, Mounted: mounted[claim.Name]}
		if left, err := time.Parse(time.RFC3339, claim.Annotations[v1alpha1.AnnotationOwnerLeft]); err == nil {
			h.LastUse = left
		}
		for j := range notebooks.Items {
			if nb := &notebooks.Items[j]; nb.HomeClaim() == claim.Name {
				h.usedBy(nb)
			}
		}
		if h.Mounted {
			h.LastUse = now
		}
		found = append(found, h)
	}
	return found, nil
}

func (h *Home) usedBy(nb *v1alpha1.JupyterNotebook) {
	h.Servers = append(h.Servers, nb.Name)
	if !nb.Spec.Stopped && nb.Status.Phase != v1alpha1.NotebookFailed {
		h.Running = append(h.Running, nb.Name)
	}
	if last := nb.Status.LastActivity; last != nil && last.After(h.LastUse) {
		h.LastUse = last.Time
	}
	if stopped, err := time.Parse(time.RFC3339, nb.Annotations[v1alpha1.AnnotationStopTime]); err == nil && stopped.After(h.LastUse) {
		h.LastUse = stopped
	}
}

// ask asks the Hub once, and the directory for each name by which the Hub knows somebody.
func ask(ctx context.Context, sources Sources, found []Home) (Answers, error) {
	var answers Answers
	if sources.Hub != nil {
		people, err := sources.Hub.People(ctx)
		switch {
		case errors.Is(err, spawner.ErrHubScopes) && sources.Directory != nil:
			ctrl.LoggerFrom(ctx).Info("the Hub does not list its users: homes of people whom the directory does not know are reported, and none is removed", "error", err.Error())
		case err != nil:
			return Answers{}, err
		case people == nil:
			answers.People = []orphans.Person{}
		default:
			answers.People = people
		}
	}
	if sources.Directory == nil {
		return answers, nil
	}
	named := slices.Clone(found)
	judge(named, Answers{People: answers.People})
	answers.Directory = map[string]bool{}
	var names []string
	for _, h := range named {
		if _, _, ok := userOf(h.Claim); ok && h.Standing != Left && h.Standing != Unclear && !slices.Contains(names, h.User) {
			names = append(names, h.User)
		}
	}
	var mu sync.Mutex
	var failed error
	var asking sync.WaitGroup
	free := make(chan struct{}, askAtOnce)
	for _, name := range names {
		free <- struct{}{}
		asking.Go(func() {
			defer func() { <-free }()
			knows, err := sources.Directory.Knows(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && failed == nil {
				failed = fmt.Errorf("ask the directory for %s: %w", name, err)
			}
			answers.Directory[name] = knows
		})
	}
	asking.Wait()
	return answers, failed
}
