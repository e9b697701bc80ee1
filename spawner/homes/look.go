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

// gather reads claims and static homes that are somebody's, and what is known of their use.
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
	var notes corev1.ConfigMapList
	if err := reader.List(ctx, &notes, client.InNamespace(namespace), client.HasLabels{v1alpha1.LabelStaticHome}); err != nil {
		return nil, fmt.Errorf("list static homes: %w", err)
	}
	mounted := mountedBy(pods.Items)
	var found []Home
	for i := range claims.Items {
		found = append(found, Home{Claim: &claims.Items[i]})
	}
	for i := range notes.Items {
		found = append(found, Home{Note: &notes.Items[i]})
	}
	found = slices.DeleteFunc(found, func(h Home) bool {
		return h.Object().GetAnnotations()[v1alpha1.LabelHubUsername] == "" || h.Object().GetDeletionTimestamp() != nil
	})
	for i := range found {
		h := &found[i]
		claim, directory := h.Volume()
		h.User, h.Standing, h.Mounted = h.Object().GetAnnotations()[v1alpha1.LabelHubUsername], Unknown, mounted[place{claim, directory}]
		if left, err := time.Parse(time.RFC3339, h.Object().GetAnnotations()[v1alpha1.AnnotationOwnerLeft]); err == nil {
			h.LastUse = left
		}
		for j := range notebooks.Items {
			if nb := &notebooks.Items[j]; homeOfServer(nb) == (place{claim, directory}) {
				h.usedBy(nb)
			}
		}
		if h.Mounted {
			h.LastUse = now
		}
	}
	return found, nil
}

// place is a claim, or a directory of one.
type place struct{ claim, directory string }

func homeOfServer(nb *v1alpha1.JupyterNotebook) place {
	at := place{claim: nb.HomeClaim()}
	if nb.Spec.Storage != nil && nb.Spec.Storage.Home != nil && nb.Spec.Storage.Home.Static != nil {
		at.directory = nb.Spec.Storage.Home.Static.SubPath
	}
	return at
}

// mountedBy are the claims that Pods have, and the directories that their containers mount; those of
// archives are no use of a home.
func mountedBy(pods []corev1.Pod) map[place]bool {
	mounted := map[place]bool{}
	for i := range pods {
		pod := &pods[i]
		if pod.Labels[v1alpha1.LabelComponent] == v1alpha1.ComponentArchive && pod.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy {
			continue
		}
		for _, volume := range pod.Spec.Volumes {
			if volume.PersistentVolumeClaim == nil {
				continue
			}
			mounted[place{claim: volume.PersistentVolumeClaim.ClaimName}] = true
			for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
				for _, mount := range container.VolumeMounts {
					if mount.Name == volume.Name {
						mounted[place{volume.PersistentVolumeClaim.ClaimName, mount.SubPath}] = true
					}
				}
			}
		}
	}
	return mounted
}

func (h *Home) usedBy(nb *v1alpha1.JupyterNotebook) {
	h.Servers = append(h.Servers, nb.Name)
	if !nb.Spec.Stopped && nb.Status.Phase != v1alpha1.NotebookFailed {
		h.Running = append(h.Running, nb.Name)
	}
	if template := nb.Spec.Template; template != nil && template.Spec.SecurityContext != nil && template.Spec.SecurityContext.RunAsUser != nil {
		h.runAs = template.Spec.SecurityContext.RunAsUser
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
		if _, _, ok := userOf(h.Object()); ok && h.Standing != Left && h.Standing != Unclear && !slices.Contains(names, h.User) {
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
