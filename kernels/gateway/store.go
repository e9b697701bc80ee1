package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/tracing"
)

// apiTimeout bounds one call to the API server.
const apiTimeout = 10 * time.Second

// store reads kernels from the cache and writes them to the API server.
type store struct {
	namespace, gateway string
	cache              client.Reader // informers; may lag behind
	api                client.Client // the API server itself

	now     func() time.Time
	perUser int

	mu     sync.Mutex
	unseen map[types.NamespacedName]unseen // kernels made here that the cache lacks

	resting *resting
}

// unseen is a kernel that was made here. unseenFor bounds how long it counts
// without having shown up: the cache may have missed it altogether.
type unseen struct {
	owner string
	at    time.Time
}

const unseenFor = time.Minute

func newStore(cfg Config, cache client.Reader, api client.Client, now func() time.Time) *store {
	return &store{
		namespace: cfg.Namespace, gateway: cfg.Name, cache: cache, api: api, now: now,
		unseen: map[types.NamespacedName]unseen{}, perUser: cfg.bounds.kernelsPerUser, resting: newResting(now),
	}
}

// kernel returns the identity's kernel of that id, or errNoKernel. What the
// cache lacks is looked up: another replica may have made it a moment ago.
func (s *store) kernel(ctx context.Context, id Identity, kernelID string) (*v1alpha1.JupyterKernel, error) {
	if _, err := parseKernelID(kernelID); err != nil {
		return nil, err
	}
	key := s.key(id, kernelID)
	k := &v1alpha1.JupyterKernel{}
	err := s.cache.Get(ctx, key, k)
	if apierrors.IsNotFound(err) {
		ctx, cancel := context.WithTimeout(ctx, apiTimeout)
		defer cancel()
		err = s.api.Get(ctx, key, k)
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, errNoKernel
	case err != nil:
		return nil, unreadable(err)
	case !s.belongs(id, k):
		return nil, errNoKernel
	}
	return k, nil
}

// key is where an identity's kernel of that id is: ids are unique in one namespace only.
func (s *store) key(id Identity, kernelID string) types.NamespacedName {
	return types.NamespacedName{Namespace: cmp.Or(id.Namespace, s.namespace), Name: kernelID}
}

// belongs reports whether a kernel is there for the identity: this gateway's, its
// own, and not on its way out.
func (s *store) belongs(id Identity, k *v1alpha1.JupyterKernel) bool {
	return s.ours(k) && k.Namespace == s.key(id, "").Namespace && id.owns(k)
}

// ours reports whether a kernel is this gateway's and not on its way out. One whose
// end is asked for is hidden at once; should the leader take that back, it is there again.
func (s *store) ours(k *v1alpha1.JupyterKernel) bool {
	return s.made(k) && k.DeletionTimestamp == nil && k.Spec.Shutdown == nil
}

// made reports whether a kernel is this gateway's.
func (s *store) made(k *v1alpha1.JupyterKernel) bool {
	return k.GatewayKey() == types.NamespacedName{Namespace: s.namespace, Name: s.gateway}
}

// kernels lists the identity's kernels as the cache has them.
func (s *store) kernels(ctx context.Context, id Identity) ([]*v1alpha1.JupyterKernel, error) {
	return s.list(ctx, id, s.cache)
}

// written lists the identity's kernels that gateways have made, as the API server
// has them. It is asked only where the cache has no answer.
func (s *store) written(ctx context.Context, id Identity) ([]*v1alpha1.JupyterKernel, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	labels := client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
	if id.Notebook != "" && len(validation.IsValidLabelValue(id.Notebook)) == 0 {
		labels[v1alpha1.LabelNotebook] = id.Notebook
	}
	return s.list(ctx, id, s.api, labels)
}

func (s *store) list(ctx context.Context, id Identity, reader client.Reader, options ...client.ListOption) ([]*v1alpha1.JupyterKernel, error) {
	var list v1alpha1.JupyterKernelList
	if err := reader.List(ctx, &list, append(options, client.InNamespace(s.key(id, "").Namespace))...); err != nil {
		return nil, unreadable(err)
	}
	var own []*v1alpha1.JupyterKernel
	for i := range list.Items {
		if k := &list.Items[i]; s.belongs(id, k) {
			own = append(own, k)
		}
	}
	return own, nil
}

// create writes a new kernel, unless its owner has too many or its id was
// somebody else's a moment ago.
func (s *store) create(ctx context.Context, id Identity, k *v1alpha1.JupyterKernel) error {
	if s.resting.rests(client.ObjectKeyFromObject(k), id.here()) {
		return fail(kindConflict, "This id was in use until recently. Choose another one.")
	}
	if err := s.reserve(ctx, id, client.ObjectKeyFromObject(k)); err != nil {
		return err
	}
	// The client may go away, but what became of the request has to be known.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiTimeout)
	defer cancel()
	err := noted(ctx, k, func() error { return s.api.Create(ctx, k) })
	if err == nil {
		return nil
	}
	s.mu.Lock()
	delete(s.unseen, client.ObjectKeyFromObject(k))
	s.mu.Unlock()
	switch {
	case apierrors.IsAlreadyExists(err):
		return failBecause(kindConflict, "A kernel with this id exists already.", err)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return failBecause(kindInvalid, "The cluster refused this kernel.", err)
	case apierrors.IsForbidden(err):
		return failBecause(kindForbidden, "The cluster does not let this gateway start a kernel now.", err)
	default:
		return unwritable(err)
	}
}

// reserve counts the owner's kernels together with those made here that the
// cache has not shown yet. The list is read under the lock: one from before
// would miss the kernels that a newer list has just taken out of unseen.
func (s *store) reserve(ctx context.Context, id Identity, wanted types.NamespacedName) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list v1alpha1.JupyterKernelList
	if err := s.cache.List(ctx, &list, client.InNamespace(wanted.Namespace)); err != nil {
		return unreadable(err)
	}
	count := 0
	for i := range list.Items {
		k := &list.Items[i]
		delete(s.unseen, client.ObjectKeyFromObject(k))
		if k.Name == wanted.Name && !id.owns(k) { // removed or not, the cache still shows it
			return fail(kindConflict, "A kernel with this id exists already.")
		}
		if s.belongs(id, k) {
			count++
		}
	}
	now := s.now()
	for key, u := range s.unseen {
		switch {
		case now.Sub(u.at) > unseenFor:
			delete(s.unseen, key)
		case u.owner == id.owner():
			count++
		}
	}
	if count >= s.perUser {
		return fail(kindForbidden, "You have too many kernels, counting parked ones. Shut some down first.")
	}
	s.unseen[wanted] = unseen{owner: id.owner(), at: now}
	return nil
}

// forget drops a kernel that was deleted before the cache ever showed it.
func (s *store) forget(k *v1alpha1.JupyterKernel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unseen, client.ObjectKeyFromObject(k))
}

// wake asks for the next run of a parked or dead kernel, as k shows it. It
// fails with a conflict if the kernel has changed since, so that no replica
// acts on an old state; asking twice asks once.
func (s *store) wake(ctx context.Context, k *v1alpha1.JupyterKernel) error {
	next := k.DeepCopy()
	next.Spec.Run = k.Status.Run + 1
	if own := k.Status.KernelSpec; own != "" { // what it could not return as, the leader takes back
		next.Spec.KernelSpec = own
	}
	return noted(ctx, next, func() error {
		return s.patch(ctx, next, client.MergeFromWithOptions(k, client.MergeFromWithOptimisticLock{}))
	})
}

// noted has a write note its request and trace. The admission policy of a chart that knows
// no such notes, as that of 0.1.0 after a roll-back, refuses it; it is written without them.
func noted(ctx context.Context, k *v1alpha1.JupyterKernel, write func() error) error {
	had := maps.Clone(k.Annotations)
	tracing.Note(ctx, k)
	err := write()
	if apierrors.IsForbidden(err) {
		k.Annotations = had
		err = write()
	}
	return err
}

// attempts bounds how often a change is made that others are faster with.
const attempts = 8

// changeSession writes what change makes of a kernel's session, nil for none.
func (s *store) changeSession(ctx context.Context, id Identity, k *v1alpha1.JupyterKernel,
	change func(*v1alpha1.KernelSession) (*v1alpha1.KernelSession, error),
) (*v1alpha1.JupyterKernel, error) {
	return s.change(ctx, id, k, func(next *v1alpha1.JupyterKernel) (err error) {
		next.Spec.Session, err = change(sessionOf(next))
		return err
	})
}

// change writes what edit makes of a kernel; its errors are returned. The controllers
// write to a kernel that starts all the time: where they were faster, it is made once
// more from what there is now.
func (s *store) change(ctx context.Context, id Identity, k *v1alpha1.JupyterKernel, edit func(*v1alpha1.JupyterKernel) error) (*v1alpha1.JupyterKernel, error) {
	for attempt := 1; ; attempt++ {
		next := k.DeepCopy()
		if err := edit(next); err != nil {
			return nil, err
		}
		write := func() error {
			return s.patch(ctx, next, client.MergeFromWithOptions(k, client.MergeFromWithOptimisticLock{}))
		}
		var err error
		if next.Spec.Run == k.Spec.Run {
			err = write()
		} else {
			err = noted(ctx, next, write)
		}
		if err == nil {
			return next, nil
		}
		if explain(err).kind != kindConflict || attempt == attempts {
			return nil, err
		}
		if k, err = s.reread(ctx, id, k); err != nil {
			return nil, err
		}
	}
}

// reread is a kernel as the API server has it, errNoKernel if it is no more.
func (s *store) reread(ctx context.Context, id Identity, k *v1alpha1.JupyterKernel) (*v1alpha1.JupyterKernel, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	now := &v1alpha1.JupyterKernel{}
	err := s.api.Get(ctx, client.ObjectKeyFromObject(k), now)
	switch {
	case apierrors.IsNotFound(err), err == nil && (now.UID != k.UID || !s.belongs(id, now)):
		return nil, errNoKernel
	case err != nil:
		return nil, unreadable(err)
	}
	return now, nil
}

// interrupted tells every replica that the user gave up waiting.
func (s *store) interrupted(ctx context.Context, k *v1alpha1.JupyterKernel, now time.Time) error {
	return s.annotate(ctx, k, v1alpha1.AnnotationInterrupted, now.UTC().Format(time.RFC3339Nano))
}

func (s *store) patch(ctx context.Context, k *v1alpha1.JupyterKernel, patch client.Patch) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	err := s.api.Patch(ctx, k, patch)
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return errNoKernel
	case apierrors.IsConflict(err):
		return failBecause(kindConflict, "The kernel has just changed. Try again.", err)
	default:
		return unwritable(err)
	}
}

// shutDown asks for the end of a notebook's kernel. The leader ends it, who sees
// whether the notebook server is on its way out itself; no gateway sees Pods.
func (s *store) shutDown(ctx context.Context, k *v1alpha1.JupyterKernel) error {
	s.forget(k)
	at := metav1.NewTime(s.now())
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": k.UID},
		"spec":     map[string]any{"shutdown": v1alpha1.KernelShutdown{By: v1alpha1.ShutdownByNotebook, At: &at}},
	})
	if err != nil {
		return err
	}
	err = s.patch(ctx, k.DeepCopy(), client.RawPatch(types.MergePatchType, patch))
	if apierrors.IsInvalid(err) { // a UID cannot change: it is another object
		return errNoKernel
	}
	return err
}

// remove deletes a kernel; its Pod and the rest follow in the background.
func (s *store) remove(ctx context.Context, k *v1alpha1.JupyterKernel) error {
	s.forget(k)
	s.resting.rest(k)
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	uid := k.UID
	err := s.api.Delete(ctx, k, client.PropagationPolicy(metav1.DeletePropagationBackground), client.Preconditions{UID: &uid})
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err): // gone, or another object by now
		return errNoKernel
	default:
		return unwritable(err)
	}
}

func unreadable(err error) error {
	return failBecause(kindUnavailable, "The kernels cannot be read now.", err)
}

// unwritable keeps apart what explain tells apart.
func unwritable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || apierrors.IsTimeout(err) {
		return failBecause(kindTimeout, "The cluster did not answer in time.", err)
	}
	return failBecause(kindUnavailable, "The cluster does not accept changes now.", err)
}
