package spawner

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/podtrouble"
)

// Whether the cluster takes a server's Pod is asked before there is a Deployment, as kernels' Pods
// are: a Deployment's own controllers say so late, and try again later and later, up to a quarter of
// an hour. What hangs on who asks, as with webhooks, is left to those.

const (
	// tryTimeout bounds the question: a webhook may take its time, and then nobody knows.
	tryTimeout = 3 * time.Second
	// roomRetry is how soon a server that waits for a quota is asked for again, and roomRetryMost
	// how soon at most once it has waited for long.
	roomRetry, roomRetryMost = 5 * time.Second, 30 * time.Second
)

// askWhetherTaken has the cluster try a Pod of a template, and make none. Its error is a state that
// says why the Pod is not taken; nil, too, where nobody knows.
func (c *controller) askWhetherTaken(ctx context.Context, nb *v1alpha1.JupyterNotebook, template *corev1.PodTemplateSpec) error {
	err := tryPod(ctx, c.client, nb, template)
	if err == nil {
		return nil
	}
	switch clause := translated(podtrouble.Unmade(err.Error())); {
	case podtrouble.Passing(err.Error()) == podtrouble.PassingQuota:
		return pending(ReasonQuotaExceeded, "Waiting: %s", clause)
	case podtrouble.Unfit(err.Error()):
		return failed(ReasonPodRefused, "The cluster refuses the server's Pod: %s", clause)
	}
	return nil
}

// UnfitError: the cluster would never take the Pod of a start, since a LimitRange, a quota or the lack of a
// priority class forbids it.
type UnfitError struct {
	// Clause says why and names the bound; it ends with a full stop.
	Clause string
	// Resource is what is beyond a bound, as quotas and LimitRanges call it, and TooMuch in which
	// direction; empty: none.
	Resource string
	TooMuch  bool
}

func (e *UnfitError) Error() string { return "spawner: the Pod is unfit: " + e.Clause }

// checkFit returns an UnfitError before anything is written for a start, if that is known.
func (s *Service) checkFit(ctx context.Context, req Request, name, home string) error {
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: s.cfg.Namespace, Name: name}, Spec: notebookSpec(s.cfg, req, name, home)}
	template := podTemplate(s.cfg, nb, "", tokenAlone(nb))
	err := tryPod(ctx, s.client, nb, &template)
	if err == nil || !podtrouble.Unfit(err.Error()) {
		return nil
	}
	resource, tooMuch := podtrouble.Bound(err.Error())
	return &UnfitError{Clause: translated(podtrouble.Unmade(err.Error())), Resource: resource, TooMuch: tooMuch}
}

// tryPod is what the API server says to a Pod of a template, which is not made.
func tryPod(ctx context.Context, c client.Client, nb *v1alpha1.JupyterNotebook, template *corev1.PodTemplateSpec) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	pod := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
	pod.Namespace, pod.GenerateName = nb.Namespace, nb.Name+"-"
	return c.Create(ctx, pod, client.DryRunAll)
}

// hasLivingPod reports whether one of a server's Pods still has what a quota counts.
func hasLivingPod(pods []corev1.Pod) bool {
	return slices.ContainsFunc(pods, func(pod corev1.Pod) bool {
		return pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded
	})
}

// replicaFailure is why the ReplicaSet of a Deployment cannot make its Pod; nil: it can, or nobody knows.
func replicaFailure(d *appsv1.Deployment) *appsv1.DeploymentCondition {
	if d == nil || d.Status.ObservedGeneration < d.Generation {
		return nil
	}
	for i := range d.Status.Conditions {
		if c := &d.Status.Conditions[i]; c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

// awaitPod asks whether the cluster takes by now the Pod of a Deployment, which it did not for a reason
// that may pass, and if so has the ReplicaSet try again at once: whatever changes in it does that.
func (c *controller) awaitPod(ctx context.Context, o *observed) error {
	failure := replicaFailure(o.deployment)
	if failure == nil || podtrouble.Passing(failure.Message) == "" || hasLivingPod(o.pods) {
		return nil
	}
	err := tryPod(ctx, c.client, o.notebook, &o.deployment.Spec.Template)
	reason, text := podtrouble.Passing(failure.Message), failure.Message
	if err != nil {
		if reason = podtrouble.Passing(err.Error()); reason == "" {
			return nil // the ReplicaSet will be told so itself
		}
		text = err.Error()
	} else if err := c.haveTriedAgain(ctx, o, failure.LastTransitionTime.Time); err != nil {
		return err
	}
	return pending(Reason(reason), "Waiting: %s", translated(podtrouble.Unmade(text)))
}

// haveTriedAgain changes an annotation of a Deployment, which its ReplicaSet gets, too; less often the
// longer that has been of no use.
func (c *controller) haveTriedAgain(ctx context.Context, o *observed, since time.Time) error {
	now := c.now()
	last, err := time.Parse(time.RFC3339, o.deployment.Annotations[v1alpha1.AnnotationTriedAgain])
	if every := min(max(now.Sub(since), repairRetry), refusedRetryMost); err == nil && now.Sub(last) < every && now.After(last) {
		return nil
	}
	changed := o.deployment.DeepCopy()
	changed.Annotations[v1alpha1.AnnotationTriedAgain] = now.UTC().Format(time.RFC3339)
	remark(changed, o.deployment, func(*appsv1.Deployment) {})
	if err := c.client.Patch(ctx, changed, podrules.PatchOver(o.deployment)); err != nil {
		return writeFault(err, "Deployment")
	}
	*o.deployment = *changed
	return nil
}

// takenAt is when a Pod was taken away, or before.
func takenAt(pod *corev1.Pod) time.Time {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget {
			return c.LastTransitionTime.Time
		}
	}
	return pod.CreationTimestamp.Time
}

// noteTaking keeps in a condition why a Pod of this start was taken away, until there is another.
func noteTaking(o observed, next *v1alpha1.JupyterNotebookStatus, v *phaseStatus) {
	for i := range o.pods {
		pod := &o.pods[i]
		if pod.Annotations[v1alpha1.AnnotationStart] != o.notebook.Spec.Start || v.pod == pod.Name {
			continue
		}
		if by, why := podtrouble.TakenAway(pod); by != "" && v.phase != v1alpha1.NotebookReady {
			if was := apimeta.FindStatusCondition(next.Conditions, ConditionPodTaken); was != nil && was.Status == metav1.ConditionFalse && was.LastTransitionTime.After(takenAt(pod)) {
				continue // it has been made again since
			}
			setCondition(o, next, ConditionPodTaken, true, Reason(by), "The server's Pod was taken away: "+shorten(why))
		}
	}
	taken := apimeta.FindStatusCondition(next.Conditions, ConditionPodTaken)
	switch {
	case taken == nil || taken.Status != metav1.ConditionTrue:
	case v.phase == v1alpha1.NotebookReady:
		setCondition(o, next, ConditionPodTaken, false, ReasonMadeAgain, taken.Message)
	case v.phase == v1alpha1.NotebookStarting || v.phase == v1alpha1.NotebookPending:
		v.message = fmt.Sprintf("%s %s", taken.Message, v.message)
	case v.phase == v1alpha1.NotebookStopped || v.phase == v1alpha1.NotebookStopping || v.phase == v1alpha1.NotebookFailed:
	}
}
