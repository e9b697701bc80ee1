package spawner

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/clusterfault"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/recheck"
	"github.com/elastichub/elastichub/setaside"
	"github.com/elastichub/elastichub/tokens"
	"github.com/elastichub/elastichub/tracing"
)

// secretRetry is how often a missing environment is looked for: Secrets are
// not watched, so that the controllers need no right to list them.
const secretRetry = 2 * time.Second

// conflictRetry is about how far a cache lags behind.
const conflictRetry = 50 * time.Millisecond

// controller makes the cluster agree with one JupyterNotebook at a time.
type controller struct {
	cfg    Config
	client client.Client // reads from the cache
	live   client.Reader // reads from the API server
	issuer *tokens.Issuer
	// events gives the Kubernetes events about objects with these UIDs.
	events func(about ...types.UID) []corev1.Event
	slots  slotStore
	asker  Asker
	// asking holds a place for each question that is being asked.
	asking  chan struct{}
	watched watched
	looked  looked
	// services are the versions of Services that are as they were asked to be.
	services sync.Map // types.NamespacedName → serviceVersion
	pulls    pulls
	written  written
	hub      Hub // nil: there is none that may be asked
	// hubCalls holds a place for each call of the Hub.
	hubCalls chan struct{}
	hubTries hubTries
	recorder health.Recorder
	met      *metrics
	now      func() time.Time
}

// stopError ends building with a state to show rather than an error to retry.
type stopError struct{ blocked }

func (e *stopError) Error() string { return "spawner: " + string(e.reason) + ": " + e.message }

func pending(reason Reason, format string, args ...any) error {
	return &stopError{blocked{v1alpha1.NotebookPending, reason, fmt.Sprintf(format, args...)}}
}

func failed(reason Reason, format string, args ...any) error {
	return &stopError{blocked{v1alpha1.NotebookFailed, reason, fmt.Sprintf(format, args...)}}
}

// Reconcile is one pass. A pass over a cache that lags behind its own writes
// loses its conflicts and comes again.
func (c *controller) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	result, err := c.pass(ctx, req)
	if clusterfault.Lost(err) {
		return ctrl.Result{RequeueAfter: conflictRetry}, nil
	}
	return result, err
}

// pass observes, builds what is missing and writes one status.
func (c *controller) pass(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	nb := &v1alpha1.JupyterNotebook{}
	if err := c.client.Get(ctx, req.NamespacedName, nb); err != nil {
		c.watched.forget(req.NamespacedName)
		c.looked.forget(req.NamespacedName)
		c.services.Delete(req.NamespacedName)
		c.written.forget(req.NamespacedName)
		c.hubTries.forget(req.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	ctx = tracing.WithObject(ctx, nb)
	if c.written.isAheadOf(nb) {
		return ctrl.Result{RequeueAfter: conflictRetry}, nil
	}
	if nb.DeletionTimestamp != nil {
		return ctrl.Result{}, nil // owner references do the rest
	}
	unreadable := nb.Malformed()
	if unreadable != nil && !nb.Spec.Stopped { // to stop it takes nothing that cannot be read
		return ctrl.Result{}, c.setAside(ctx, nb, unreadable)
	}
	if startedAside(nb) {
		if err := c.putBack(ctx, nb); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
	}
	wait, err := c.forgetStop(ctx, nb)
	if err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	o, err := c.observe(ctx, nb)
	if err != nil {
		return ctrl.Result{}, err
	}
	switch err := c.act(ctx, &o); {
	case isStop(err, &o.blocked):
		if again := retryAfter(o); again > 0 {
			wait = again
		}
	case err != nil:
		return ctrl.Result{}, err
	}
	if o.credentials.live && wait == 0 {
		wait = credentialsCheck
	}
	next, left := decide(o)
	wait = recheck.Sooner(wait, left)
	left, due, err := c.watchTime(ctx, nb, &next)
	if err != nil {
		return ctrl.Result{}, err
	}
	wait = recheck.Sooner(wait, left)
	if due == nil && !nb.Spec.Stopped && (next.StopEligibleAt == nil || next.StopEligibleAt.After(c.now())) {
		c.hubTries.forget(req.NamespacedName)
	}
	left, asked := c.startAsAsked(ctx, nb, &next)
	wait = recheck.Sooner(wait, left)
	if err := c.noteChannel(ctx, nb, &next); err != nil {
		return ctrl.Result{}, err
	}
	c.noteReplacedImages(nb, &next)
	if next.Phase == v1alpha1.NotebookStopped && nb.Status.Phase != v1alpha1.NotebookStopped {
		if err := c.forgetEnvironment(ctx, nb); err != nil {
			return ctrl.Result{}, err
		}
	}
	if unreadable != nil {
		health.Set(&next.Conditions, nb.Generation, o.now, health.Stalled, string(v1alpha1.ReasonMalformed), unreadable.Error())
	}
	if left := c.untilTold(nb, next); left > 0 && due == nil && !asked {
		return ctrl.Result{RequeueAfter: shorter(wait, left)}, nil
	}
	if err := c.writeStatus(ctx, nb, next, current(nb, o.pods)); err != nil {
		return ctrl.Result{}, err
	}
	if asked {
		c.hubTries.forget(req.NamespacedName)
		if err := c.forgetAsked(ctx, nb); err != nil {
			return ctrl.Result{}, err
		}
	}
	if due == nil && environmentLost(nb, next, c.now()) {
		return ctrl.Result{}, c.stop(ctx, nb, v1alpha1.StopEnvironment)
	}
	if due != nil {
		if wait, err = c.stopDue(ctx, nb, *due); err != nil {
			return ctrl.Result{}, err
		}
	}
	return ctrl.Result{RequeueAfter: recheck.Sooner(wait, c.looked.left(req.NamespacedName, c.now()))}, nil
}

// setAside tells that a notebook's spec cannot be read. What runs for it goes on.
func (c *controller) setAside(ctx context.Context, nb *v1alpha1.JupyterNotebook, why error) error {
	next := *nb.Status.DeepCopy()
	next.ObservedGeneration = nb.Generation
	switch next.Phase {
	case "", v1alpha1.NotebookPending, v1alpha1.NotebookFailed:
		next.Phase, next.Reason, next.Message = v1alpha1.NotebookFailed, string(v1alpha1.ReasonMalformed), why.Error()
	case v1alpha1.NotebookStarting, v1alpha1.NotebookReady, v1alpha1.NotebookStopping, v1alpha1.NotebookStopped:
	}
	health.Set(&next.Conditions, nb.Generation, c.now(), health.Stalled, string(v1alpha1.ReasonMalformed), why.Error())
	return c.writeStatus(ctx, nb, next, nil)
}

func isStop(err error, into **blocked) bool {
	var stop *stopError
	if errors.As(err, &stop) {
		*into = &stop.blocked
		return true
	}
	return false
}

// writeStatus writes what has changed; pod is the server's, nil if there is none.
func (c *controller) writeStatus(ctx context.Context, nb *v1alpha1.JupyterNotebook, next v1alpha1.JupyterNotebookStatus, pod *corev1.Pod) error {
	if equality.Semantic.DeepEqual(nb.Status, next) {
		return nil
	}
	before := nb.Status
	changed := nb.DeepCopy()
	changed.Status = next
	if err := c.client.Status().Patch(ctx, changed, podrules.PatchOver(nb)); err != nil {
		return client.IgnoreNotFound(setaside.Tell(ctx, c.client, nb, err))
	}
	nb.ResourceVersion = changed.ResourceVersion
	c.written.note(changed, c.now())
	c.recorder.Tell(nb, objectEvents(before, next)...)
	c.met.observe(before, next, pod)
	c.trace(nb, before, next, pod)
	return nil
}

func (c *controller) observe(ctx context.Context, nb *v1alpha1.JupyterNotebook) (observed, error) {
	o := observed{notebook: nb, now: c.now()}
	var deployment appsv1.Deployment
	switch err := c.client.Get(ctx, client.ObjectKeyFromObject(nb), &deployment); {
	case err == nil:
		if metav1.IsControlledBy(&deployment, nb) {
			o.deployment = &deployment
		}
	case !apierrors.IsNotFound(err):
		return o, fmt.Errorf("read deployment: %w", err)
	}
	about := []types.UID{}
	if name := nb.HomeClaim(); name != "" {
		var claim corev1.PersistentVolumeClaim
		switch err := c.client.Get(ctx, client.ObjectKey{Namespace: nb.Namespace, Name: name}, &claim); {
		case err == nil:
			o.claim, about = &claim, append(about, claim.UID)
		case !apierrors.IsNotFound(err):
			return o, fmt.Errorf("read claim: %w", err)
		}
	}
	if o.deployment != nil {
		var pods corev1.PodList
		if err := c.client.List(ctx, &pods, client.InNamespace(nb.Namespace), client.MatchingLabels(selector(nb))); err != nil {
			return o, fmt.Errorf("list pods: %w", err)
		}
		for i := range pods.Items {
			if madeBy(&pods.Items[i], nb.Name) {
				o.pods, about = append(o.pods, pods.Items[i]), append(about, pods.Items[i].UID)
			}
		}
	}
	o.events, o.pulls = c.events(about...), &c.pulls
	if pod := current(nb, o.pods); pod != nil && c.cfg.Nodes != nil && isUnplaced(pod) {
		short, cancel := context.WithTimeout(ctx, time.Second)
		switch room, err := c.cfg.Nodes.RoomFor(short, &pod.Spec); {
		case err != nil: // the reason is told without figures
			ctrl.LoggerFrom(ctx).Info("the room on the nodes is not known", "error", err.Error())
		default:
			o.room = &room
		}
		cancel()
	}
	var err error
	o.remote, err = c.observeRemote(ctx, nb)
	return o, err
}

// madeBy tells that a Pod belongs to a ReplicaSet of that Deployment, by the
// name that the Deployment controller gives it.
func madeBy(pod *corev1.Pod, deployment string) bool {
	owner := metav1.GetControllerOf(pod)
	return owner != nil && owner.Kind == "ReplicaSet" &&
		owner.Name == deployment+"-"+pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
}

// act builds or takes away; a stopError says what stands in the way.
func (c *controller) act(ctx context.Context, o *observed) error {
	nb := o.notebook
	if err := c.takeOutLiterals(ctx, o); err != nil {
		if built(o.deployment, nb) {
			return whileRunning(err)
		}
		return err
	}
	if nb.Spec.Stopped || nb.StartHasFailed() {
		c.looked.forget(client.ObjectKeyFromObject(nb))
		return c.scale(ctx, o.deployment, 0)
	}
	var err error
	if o.credentials, err = c.findCredentials(ctx, nb); err != nil {
		return err
	}
	if built(o.deployment, nb) {
		// Runs, whatever became of its gateway and Secrets since, and of the rules: a
		// former release may have built what this one refuses.
		return c.repair(ctx, o)
	}
	why := refuse(nb)
	if why == nil {
		if why, err = accountRefusal(ctx, c.cfg, c.live, nb); err != nil {
			return err
		}
	}
	if why == nil {
		var err error
		if why, err = c.gatewayRefusal(ctx, nb); err != nil {
			return err
		}
	}
	if why != nil {
		if err := c.scale(ctx, o.deployment, 0); err != nil {
			return err
		}
		return failed(why.reason, "%s", why.message)
	}
	tokenIn, prefix, err := c.environment(ctx, nb)
	if err != nil {
		return err
	}
	if err := c.certificates(ctx, nb); err != nil {
		return err
	}
	if !hasLivingPod(o.pods) { // else its own place may be what is missing
		template := podTemplate(c.cfg, nb, "", tokenIn)
		if err := c.askWhetherTaken(ctx, nb, &template); err != nil {
			return err
		}
	}
	if err := c.confirmSlot(ctx, nb); err != nil {
		var refused *blocked
		if isStop(err, &refused) { // the Pod of a start that was stopped meanwhile goes, too
			if err := c.scale(ctx, o.deployment, 0); err != nil {
				return err
			}
		}
		return err
	}
	if err := c.ensureClaim(ctx, o); err != nil {
		return err
	}
	if missing := o.credentials.missing; missing != nil {
		return pending(ReasonWaitingForCredentials, "%s", missing.message)
	}
	if tokenIn == tokenAlone(nb) {
		if err := c.putToken(ctx, nb, tokenIn); err != nil {
			return err
		}
	}
	version, err := c.authFiles(ctx, c.issuer, nb, o.credentials)
	if err != nil {
		return err
	}
	if err := c.ensureService(ctx, nb); err != nil {
		return err
	}
	want := deployment(c.cfg, nb, version, tokenIn)
	if c.cfg.MetricsSecret != "" {
		mountMetricsHash(c.cfg.MetricsSecret, prefix, &want.Spec.Template)
	}
	if err := c.ensureDeployment(ctx, o, want); err != nil {
		return err
	}
	c.looked.note(nb, "", c.now())
	return nil
}

// confirmSlot holds a server of the Hub against the user's limit once more.
func (c *controller) confirmSlot(ctx context.Context, nb *v1alpha1.JupyterNotebook) error {
	if nb.Spec.ServersPerUser <= 0 || nb.Spec.User == "" {
		return nil
	}
	switch err := c.slots.confirm(ctx, nb); {
	case errors.Is(err, ErrTooManyServers):
		return failed(ReasonTooManyServers, "As many servers run as the policy allows, %d. Stop one of them first.", nb.Spec.ServersPerUser)
	case errors.Is(err, ErrNameTaken):
		return failed(ReasonNameTaken, "There is a ConfigMap %s that is not elastichub's.", slotsName(nb.Spec.User))
	default:
		return err
	}
}

// built tells that a Deployment is what this generation asks for. Its
// template is not compared: another version of elastichub may have built it.
func built(d *appsv1.Deployment, nb *v1alpha1.JupyterNotebook) bool {
	return d != nil && d.Annotations[v1alpha1.AnnotationGeneration] == strconv.FormatInt(nb.Generation, 10) &&
		d.Spec.Replicas != nil && *d.Spec.Replicas == 1
}

func (c *controller) scale(ctx context.Context, d *appsv1.Deployment, replicas int32) error {
	if d == nil || d.Spec.Replicas != nil && *d.Spec.Replicas == replicas {
		return nil
	}
	changed := d.DeepCopy()
	changed.Spec.Replicas = &replicas
	if err := c.client.Patch(ctx, changed, podrules.PatchOver(d)); err != nil {
		return writeFault(err, "Deployment")
	}
	*d = *changed
	return nil
}
