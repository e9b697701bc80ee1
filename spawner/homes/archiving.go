package homes

import (
	"context"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
)

const (
	// tendEvery is how often Jobs are looked at, so that who comes back has their home soon.
	tendEvery = 15 * time.Second
	// archivesAtOnce bounds how many Jobs run.
	archivesAtOnce = 2
	// mostMessage bounds what is passed on of a Pod's last words.
	mostMessage = 500
)

// Reasons of Events of archives.
const (
	eventArchiving     = "HomeArchiving"
	eventArchived      = "HomeArchived"
	eventArchiveFailed = "HomeArchiveFailed"
	eventArchiveEnded  = "HomeArchiveEnded"
)

// annotationTold on a Job says that people have been told of its end.
const annotationTold = "elastichub.io/told"

// jobs are those that archive homes, by the UIDs of these.
func (w *watch) jobs(ctx context.Context) (map[types.UID]*batchv1.Job, error) {
	if w.cfg.Mode != Archive {
		return nil, nil
	}
	var list batchv1.JobList
	err := w.live.List(ctx, &list, client.InNamespace(w.cfg.Namespace),
		client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelComponent: v1alpha1.ComponentArchive})
	if err != nil {
		return nil, fmt.Errorf("list Jobs of archives: %w", err)
	}
	found := map[types.UID]*batchv1.Job{}
	for i := range list.Items {
		for _, owner := range list.Items[i].OwnerReferences {
			found[owner.UID] = &list.Items[i]
		}
	}
	return found, nil
}

// ended tells that a Job is over, and whether it has done its work.
func ended(job *batchv1.Job) (over, done bool) {
	for _, c := range job.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) {
			return true, c.Type == batchv1.JobComplete
		}
	}
	return false, false
}

// archiveState is the state of a home that a Job is there for.
func archiveState(state string, job *batchv1.Job) string {
	if state != stateDue || job == nil {
		return state
	}
	switch over, done := ended(job); {
	case !over:
		return stateArchiving
	case !done:
		return stateFailed
	}
	return state
}

// archive begins to archive a home, if none of its Jobs is there and not too many run. One that has
// failed stays until an administrator deletes it.
func (w *watch) archive(ctx context.Context, h Home, jobs map[types.UID]*batchv1.Job) error {
	uid := h.Object().GetUID()
	if jobs[uid] != nil {
		return nil
	}
	running := 0
	for _, job := range jobs {
		if over, _ := ended(job); !over {
			running++
		}
	}
	if running >= archivesAtOnce {
		return nil
	}
	job := JobFor(w.cfg, h, w.now())
	if err := w.client.Create(ctx, job, client.FieldOwner(homesManager)); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("archive home %s: %w", h.Object().GetName(), err)
	}
	jobs[uid] = job
	w.recorder.Tell(h.Object(), health.Warning(eventArchiving, h.Message+" Their home is archived by the Job "+job.Name+", whose log tells how far it is."))
	return nil
}

// endJobs ends those of homes that are not to be archived any more: somebody is back.
func (w *watch) endJobs(ctx context.Context, jobs map[types.UID]*batchv1.Job, due map[types.UID]bool) error {
	for uid, job := range jobs {
		if due[uid] {
			continue
		}
		if err := w.delete(ctx, job); err != nil {
			return err
		}
	}
	return nil
}

func (w *watch) delete(ctx context.Context, job *batchv1.Job) error {
	err := w.client.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Job %s: %w", job.Name, err)
	}
	return nil
}

// tend looks at Jobs that archive homes: what is whole is noted on the home, what has failed is told,
// and where a server wants the home, the Job ends. It reports that one is over.
func (w *watch) tend(ctx context.Context) (over bool, err error) {
	jobs, err := w.jobs(ctx)
	if err != nil || len(jobs) == 0 {
		return false, err
	}
	found, err := gather(ctx, w.live, w.cfg.Namespace, w.now())
	if err != nil {
		return false, err
	}
	for _, h := range found {
		job := jobs[h.Object().GetUID()]
		if job == nil || job.DeletionTimestamp != nil {
			continue
		}
		finished, done := ended(job)
		switch {
		case len(h.Running) > 0 || h.Mounted:
			err = w.delete(ctx, job)
			if err == nil {
				w.recorder.Tell(h.Object(), health.Normal(eventArchiveEnded, "The home is used again: its archive is given up."))
			}
		case finished && done:
			over = true
			err = w.archived(ctx, h, job)
		case finished && job.Annotations[annotationTold] == "":
			over = true
			err = w.failed(ctx, h, job)
		}
		if err != nil {
			return over, err
		}
	}
	return over, nil
}

// archived notes on a home that there is a whole archive of it.
func (w *watch) archived(ctx context.Context, h Home, job *batchv1.Job) error {
	note := job.Annotations[v1alpha1.AnnotationArchived]
	written, err := w.annotate(ctx, h, func(notes map[string]string) { notes[v1alpha1.AnnotationArchived] = note })
	if err != nil || !written {
		return err
	}
	w.met.archived.Inc()
	_, file, _ := strings.Cut(note, " ")
	w.recorder.Tell(h.Object(), health.Normal(eventArchived, "The home is archived as "+file+" in the claim "+w.cfg.ArchiveClaim+", and read back: "+w.lastWords(ctx, job)))
	ctrl.LoggerFrom(ctx).Info("the home of somebody who left is archived", "home", h.Object().GetName(), "file", file)
	return w.delete(ctx, job)
}

// failed tells, once, that a home could not be archived.
func (w *watch) failed(ctx context.Context, h Home, job *batchv1.Job) error {
	before := job.DeepCopy()
	metav1.SetMetaDataAnnotation(&job.ObjectMeta, annotationTold, "true")
	if err := w.client.Patch(ctx, job, client.MergeFrom(before), client.FieldOwner(homesManager)); err != nil {
		return client.IgnoreNotFound(err)
	}
	w.recorder.Tell(h.Object(), health.Warning(eventArchiveFailed, "The home could not be archived, and stays: "+w.lastWords(ctx, job)+" Delete the Job "+job.Name+" to have it tried again."))
	return nil
}

// lastWords are those of the newest Pod of a Job that has some, or of the Job.
func (w *watch) lastWords(ctx context.Context, job *batchv1.Job) string {
	var pods corev1.PodList
	words, newest := "", metav1.Time{}
	for _, c := range job.Status.Conditions {
		if c.Status == corev1.ConditionTrue && c.Message != "" {
			words = c.Message + "."
		}
	}
	if err := w.live.List(ctx, &pods, client.InNamespace(job.Namespace), client.MatchingLabels{batchv1.JobNameLabel: job.Name}); err != nil {
		return words
	}
	for _, pod := range pods.Items {
		for _, c := range pod.Status.ContainerStatuses {
			if end := c.State.Terminated; end != nil && end.Message != "" && !end.FinishedAt.Before(&newest) {
				words, newest = end.Message, end.FinishedAt
			}
		}
	}
	return strings.ToValidUTF8(words[:min(len(words), mostMessage)], "")
}
