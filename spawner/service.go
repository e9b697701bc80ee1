package spawner

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

var (
	// ErrNameTaken: an object of the server's name exists and is not the
	// server of that key.
	ErrNameTaken = errors.New("spawner: name is taken by something else")
	// ErrRemoving: the former server of that key is still being deleted; a
	// later attempt succeeds.
	ErrRemoving = errors.New("spawner: server is being removed")
)

// attempts bounds how often a write that lost a race is tried again.
const attempts = 4

// rollbackTimeout bounds the removal of what a refused notebook leaves.
const rollbackTimeout = 5 * time.Second

// Service starts, stops and removes servers, and says their state. Any number
// of replicas may run; it is safe for concurrent use.
type Service struct {
	cfg      Config
	client   client.Client
	live     client.Reader
	snapshot *snapshot
	ledger   ledger
	now      func() time.Time
}

// NewService takes a manager's client, uncached reader and cache. ctx bounds
// the call only. The state is unknown (ErrNotSynced) until the cache has been
// started and has synced.
func NewService(ctx context.Context, cfg Config, writer client.Client, live client.Reader, informers cache.Cache) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("spawner: %w", err)
	}
	s := &Service{
		cfg: cfg, client: writer, live: live, snapshot: newSnapshot(cfg.Namespace),
		ledger: ledger{namespace: cfg.Namespace, client: writer, live: live, now: time.Now},
		now:    time.Now,
	}
	informer, err := informers.GetInformer(ctx, &v1alpha1.JupyterNotebook{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("spawner: watch notebooks: %w", err)
	}
	if err := s.snapshot.follow(informer); err != nil {
		return nil, fmt.Errorf("spawner: watch notebooks: %w", err)
	}
	return s, nil
}

// Start makes a server exist and run, and returns at once; Events and State
// tell how it goes on. A repeated request of the same Start changes nothing, also after
// that start was stopped. Errors: ErrInvalid, ErrTooManyServers, ErrNameTaken,
// ErrRemoving, or what the API server said.
func (s *Service) Start(ctx context.Context, req Request) (State, error) {
	if err := check(req); err != nil {
		return State{}, err
	}
	for attempt := 1; ; attempt++ {
		state, err := s.start(ctx, req)
		if attempt < attempts && (apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)) {
			continue
		}
		return state, err
	}
}

func (s *Service) start(ctx context.Context, req Request) (State, error) {
	nb, err := s.get(ctx, req.Key)
	switch {
	case errors.Is(err, ErrNotFound):
		nb = nil
	case err != nil:
		return State{}, err
	case nb.DeletionTimestamp != nil:
		return State{}, ErrRemoving
	case nb.Spec.Start == req.Start:
		if !nb.Spec.Stopped {
			// A racing start may have left its own environment behind.
			if _, err := s.writeEnv(ctx, req, nb); err != nil {
				return State{}, err
			}
		}
		return s.snapshot.put(nb), nil
	}
	if err := s.ledger.take(ctx, req.Key, req.Start, req.ServersPerUser); err != nil {
		return State{}, err
	}
	created, err := s.writeEnv(ctx, req, nb)
	if err != nil {
		return State{}, err
	}
	written, err := s.writeNotebook(ctx, req, nb)
	if err != nil {
		if refused(err) {
			s.rollback(ctx, req, created)
		}
		return State{}, err
	}
	return s.snapshot.put(written), nil
}

// get reads a server from the API server: its cache may not hold it yet.
func (s *Service) get(ctx context.Context, k Key) (*v1alpha1.JupyterNotebook, error) {
	var nb v1alpha1.JupyterNotebook
	err := s.live.Get(ctx, client.ObjectKey{Namespace: s.cfg.Namespace, Name: Name(k)}, &nb)
	if apierrors.IsNotFound(err) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read notebook: %w", err)
	}
	if keyOf(&nb) != k {
		return nil, ErrNameTaken
	}
	return &nb, nil
}

// writeEnv makes the Secret hold the environment of this start, and returns it
// if it was not there before.
func (s *Service) writeEnv(ctx context.Context, req Request, nb *v1alpha1.JupyterNotebook) (*corev1.Secret, error) {
	want := envSecret(s.cfg, req)
	if nb != nil {
		want.OwnerReferences = meta(nb, "").OwnerReferences
	}
	var have corev1.Secret
	err := s.live.Get(ctx, client.ObjectKeyFromObject(want), &have)
	if apierrors.IsNotFound(err) {
		if err := s.client.Create(ctx, want); err != nil {
			return nil, fmt.Errorf("write environment: %w", err)
		}
		return want, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read environment: %w", err)
	}
	if have.Labels[v1alpha1.LabelNotebook] != Name(req.Key) || have.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBy {
		return nil, ErrNameTaken
	}
	if nb != nil && nb.Spec.Start == req.Start && have.Annotations[v1alpha1.AnnotationStart] == req.Start {
		return nil, nil
	}
	want.ResourceVersion, want.UID = have.ResourceVersion, have.UID
	if err := s.client.Update(ctx, want); err != nil {
		return nil, fmt.Errorf("write environment: %w", err)
	}
	return nil, nil
}

func (s *Service) writeNotebook(ctx context.Context, req Request, nb *v1alpha1.JupyterNotebook) (*v1alpha1.JupyterNotebook, error) {
	if nb == nil {
		nb = &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: s.cfg.Namespace, Name: Name(req.Key)}}
	} else {
		nb = nb.DeepCopy()
	}
	nb.Labels = merged(nb.Labels, objectLabels(nb.Name, req.Key))
	annotations := map[string]string{v1alpha1.LabelHubUsername: req.User, v1alpha1.LabelHubServername: req.Server}
	if req.Options != nil {
		annotations[v1alpha1.AnnotationOptions] = string(req.Options)
	}
	nb.Annotations = merged(nb.Annotations, annotations)
	delete(nb.Annotations, annotationStopCause)
	delete(nb.Annotations, annotationStopTime)
	nb.Spec = notebookSpec(s.cfg, req)
	var err error
	if nb.ResourceVersion == "" {
		err = s.client.Create(ctx, nb)
	} else {
		err = s.client.Update(ctx, nb)
	}
	if err != nil {
		return nil, fmt.Errorf("write notebook: %w", err)
	}
	return nb, nil
}

// refused tells that a write was certainly not made and will not be when
// tried again; after a time-out nobody knows.
func refused(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// rollback gives back the slot of a start that cannot be, and removes its
// Secret if there was none before. Failing that, the slot counts for slotGrace,
// and the next start of the same server reuses the Secret.
func (s *Service) rollback(ctx context.Context, req Request, secret *corev1.Secret) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	_ = s.ledger.release(ctx, req.Key, req.Start)
	if secret != nil {
		_ = s.client.Delete(ctx, secret, client.Preconditions{UID: &secret.UID})
	}
}

// Stop takes the server's Pod away, also one that is only starting; object and
// volumes stay. It does not wait. Stopping a stopped server does nothing.
// Errors: ErrNotFound, ErrNameTaken.
func (s *Service) Stop(ctx context.Context, k Key) error {
	nb, err := s.get(ctx, k)
	if err != nil {
		return err
	}
	if !nb.Spec.Stopped {
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"`+annotationStopCause+`":null,"`+annotationStopTime+`":null}},"spec":{"stopped":true}}`))
		if err := s.client.Patch(ctx, nb, patch); err != nil {
			if apierrors.IsNotFound(err) {
				return ErrNotFound
			}
			return fmt.Errorf("stop notebook: %w", err)
		}
	}
	s.snapshot.put(nb)
	return nil
}

// Remove deletes the server, its environment and the home volume made for it.
// A claim that spec names, or that was there before, may be shared and stays.
// It does not wait, and removing what is not there does nothing.
func (s *Service) Remove(ctx context.Context, k Key) error {
	name := Name(k)
	nb, err := s.get(ctx, k)
	switch {
	case err == nil:
		policy := metav1.DeletePropagationBackground
		err := s.client.Delete(ctx, nb, client.Preconditions{UID: &nb.UID}, &client.DeleteOptions{PropagationPolicy: &policy})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete notebook: %w", err)
		}
		s.snapshot.drop(nb)
	case !errors.Is(err, ErrNotFound):
		return err
	}
	var volume corev1.PersistentVolumeClaim
	if err := s.removeOwn(ctx, name, claimPrefix+name, &volume, k); err != nil {
		return fmt.Errorf("delete home volume: %w", err)
	}
	var secret corev1.Secret
	if err := s.removeOwn(ctx, name, name+envSecretSuffix, &secret, k); err != nil {
		return fmt.Errorf("delete environment: %w", err)
	}
	if err := s.ledger.release(ctx, k, ""); err != nil {
		return fmt.Errorf("release the server's slot: %w", err)
	}
	return nil
}

// removeOwn deletes an object if it was made for the notebook of that name.
func (s *Service) removeOwn(ctx context.Context, notebook, name string, object client.Object, k Key) error {
	if err := s.live.Get(ctx, client.ObjectKey{Namespace: s.cfg.Namespace, Name: name}, object); err != nil {
		return client.IgnoreNotFound(err)
	}
	labels := object.GetLabels()
	if labels[v1alpha1.LabelNotebook] != notebook || labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBy ||
		labels[v1alpha1.LabelHubUsername] != labelValue(k.User) {
		return nil
	}
	uid := object.GetUID()
	return client.IgnoreNotFound(s.client.Delete(ctx, object, client.Preconditions{UID: &uid}))
}

// State is answered from memory. Errors: ErrNotFound, ErrNotSynced.
func (s *Service) State(_ context.Context, k Key) (State, error) { return s.snapshot.state(k) }

// States is answered from memory, in no order. Error: ErrNotSynced.
func (s *Service) States(context.Context) ([]State, error) { return s.snapshot.states() }
