package spawner

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/clusterfault"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/tracing"
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
	slots    slotStore
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
		slots: newSlotStore(cfg.Namespace, writer, live),
		now:   time.Now,
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
// that start was stopped or a newer one has taken over. Errors: ErrInvalid, ErrTooManyServers, ErrNameTaken,
// ErrRemoving, an UnfitError, or what the API server said.
func (s *Service) Start(ctx context.Context, req Request) (State, error) {
	if err := check(req, s.now()); err != nil {
		return State{}, err
	}
	for attempt := 1; ; attempt++ {
		state, err := s.start(ctx, req)
		if attempt < attempts && clusterfault.Lost(err) {
			continue
		}
		return state, err
	}
}

func (s *Service) start(ctx context.Context, req Request) (State, error) {
	nb, name, err := s.locate(ctx, s.requester(req))
	switch {
	case err != nil:
		return State{}, err
	case nb == nil:
	case nb.DeletionTimestamp != nil:
		return State{}, ErrRemoving
	case nb.Spec.Start == req.Start:
		if !nb.Spec.Stopped {
			// A racing start may have left its own environment behind.
			if _, err := s.writeSecrets(ctx, req, nb, name); err != nil {
				return State{}, err
			}
		}
		return s.snapshot.put(nb), nil
	case isFormerStart(nb, req.Start):
		return s.snapshot.put(nb), nil
	}
	if req.SSL != nil && !req.SSL.IsFor(s.hostOf(name)) {
		return State{}, ErrOtherHost
	}
	home, err := s.homeClaim(ctx, req, nb, name)
	if err != nil {
		return State{}, err
	}
	if err := s.checkFit(ctx, req, name, home); err != nil {
		return State{}, err
	}
	if err := s.slots.reserve(ctx, req.Key, name, req.Start, req.ServersPerUser); err != nil {
		return State{}, err
	}
	created, err := s.writeSecrets(ctx, req, nb, name)
	if err != nil {
		return State{}, err
	}
	written, err := s.writeNotebook(ctx, req, nb, name, home)
	if err != nil {
		if refused(err) {
			s.rollback(ctx, req, name, created)
		}
		return State{}, err
	}
	if nb != nil && nb.Spec.SSLSecret != "" && req.SSL == nil { // else it would lie there until the notebook goes
		_ = s.removeSecret(ctx, name, sslSecretSuffix, req.Key)
	}
	return s.snapshot.put(written), nil
}

func (s *Service) requester(req Request) requester {
	return requester{Key: req.Key, others: req.Others, adoptBefore: s.cfg.AdoptHomesBefore}
}

// get reads a server from the API server: its cache may not hold it yet.
func (s *Service) get(ctx context.Context, k Key) (*v1alpha1.JupyterNotebook, error) {
	nb, _, err := s.locate(ctx, s.requester(Request{Key: k}))
	if err == nil && nb == nil {
		return nil, ErrNotFound
	}
	return nb, err
}

// locate reads a server, nil if there is none, and tells what its object is
// called or would be. What the snapshot knows is looked at first; before it says
// that there is none, it has asked the API server for every name and for all of the
// person's. Error: ErrNameTaken.
func (s *Service) locate(ctx context.Context, who requester) (nb *v1alpha1.JupyterNotebook, name string, err error) {
	if known := s.snapshot.find(who.Key); known != nil {
		nb, err := s.read(ctx, known.Name)
		if err != nil || nb != nil && isServer(nb, who) {
			return nb, known.Name, err
		}
	}
	name = Name(who.Key)
	nb, err = s.read(ctx, name)
	switch {
	case err != nil, nb != nil && isServer(nb, who):
		return nb, name, err
	case nb != nil && (nb.Spec.User == "" || !who.HubUser.Known()):
		return nil, "", ErrNameTaken
	case nb != nil:
		name = ownName(who.Key)
		if own, err := s.read(ctx, name); err != nil || own != nil && isServer(own, who) {
			return own, name, err
		} else if own != nil {
			return nil, "", ErrNameTaken
		}
	}
	renamed, err := s.findRenamed(ctx, who)
	if renamed != nil {
		name = renamed.Name
	}
	return renamed, name, err
}

// read gives nil if there is no such notebook.
func (s *Service) read(ctx context.Context, name string) (*v1alpha1.JupyterNotebook, error) {
	var nb v1alpha1.JupyterNotebook
	err := s.live.Get(ctx, client.ObjectKey{Namespace: s.cfg.Namespace, Name: name}, &nb)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read notebook: %w", err)
	}
	return &nb, nil
}

// isServer tells that a notebook is the server that somebody asks for.
func isServer(nb *v1alpha1.JupyterNotebook, who requester) bool {
	return nb.Spec.User != "" && nb.Spec.Server == who.Server && notebookOwnership(nb, who) == ownershipOwn
}

// findRenamed looks through all notebooks of a person, nil if none is the server.
func (s *Service) findRenamed(ctx context.Context, who requester) (*v1alpha1.JupyterNotebook, error) {
	if !who.HubUser.Known() {
		return nil, nil
	}
	var own v1alpha1.JupyterNotebookList
	if err := s.live.List(ctx, &own, client.InNamespace(s.cfg.Namespace), ofHubUser(who.HubUser)); err != nil {
		return nil, fmt.Errorf("list notebooks: %w", err)
	}
	for i := range own.Items {
		if isServer(&own.Items[i], who) {
			return &own.Items[i], nil
		}
	}
	return nil, nil
}

// ofHubUser selects by id alone: whether it is the same person is to be asked
// of what is found.
func ofHubUser(u HubUser) client.MatchingLabels {
	return client.MatchingLabels{v1alpha1.LabelHubUserID: strconv.FormatInt(u.ID, 10)}
}

// writeSecrets makes the Secrets hold the environment and the certificates of this start, and returns
// those that were not there before.
func (s *Service) writeSecrets(ctx context.Context, req Request, nb *v1alpha1.JupyterNotebook, name string) ([]*corev1.Secret, error) {
	wanted := []*corev1.Secret{envSecret(s.cfg, req, name)}
	if req.SSL != nil {
		secret, err := s.sslSecret(req, name)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, secret)
	}
	var created []*corev1.Secret
	for _, want := range wanted {
		secret, err := s.writeSecret(ctx, req, nb, name, want)
		if err != nil {
			return nil, err
		}
		if secret != nil {
			created = append(created, secret)
		}
	}
	return created, nil
}

// writeSecret makes one hold what is wanted, and returns it if it was not there before. What it holds
// of this very start stays.
func (s *Service) writeSecret(ctx context.Context, req Request, nb *v1alpha1.JupyterNotebook, name string, want *corev1.Secret) (*corev1.Secret, error) {
	if nb != nil {
		want.OwnerReferences = meta(nb, "").OwnerReferences
	}
	if nb == nil || nb.Spec.Stopped { // that of the former start is gone, as a rule
		switch err := s.client.Create(ctx, want); {
		case err == nil:
			return want, nil
		case !apierrors.IsAlreadyExists(err):
			return nil, fmt.Errorf("write environment: %w", err)
		}
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
	if !isEnvOf(&have, name) {
		return nil, ErrNameTaken
	}
	if nb != nil && nb.Spec.Start == req.Start && have.Annotations[v1alpha1.AnnotationStart] == req.Start {
		return nil, nil
	}
	changed := have.DeepCopy()
	changed.Data, changed.Labels, changed.Annotations, changed.OwnerReferences = want.Data, want.Labels, want.Annotations, want.OwnerReferences
	if err := s.client.Patch(ctx, changed, podrules.PatchOver(&have)); err != nil {
		return nil, fmt.Errorf("write environment: %w", err)
	}
	return nil, nil
}

func (s *Service) writeNotebook(ctx context.Context, req Request, nb *v1alpha1.JupyterNotebook, name, home string) (*v1alpha1.JupyterNotebook, error) {
	former := nb
	if nb == nil {
		nb = &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: s.cfg.Namespace, Name: name}}
	} else {
		nb = nb.DeepCopy()
	}
	nb.Labels = merged(nb.Labels, notebookLabels(nb.Name, req.Key))
	annotations := rawNames(req.Key)
	delete(nb.Annotations, v1alpha1.AnnotationClaimTemplate)
	if template, ok := templateOf(req); ok {
		annotations[v1alpha1.AnnotationClaimTemplate] = template
	}
	if req.Options != nil {
		annotations[v1alpha1.AnnotationOptions] = string(req.Options)
	}
	delete(nb.Annotations, v1alpha1.AnnotationDisplayName)
	if req.DisplayName != "" {
		annotations[v1alpha1.AnnotationDisplayName] = req.DisplayName
	}
	if former != nil && former.Spec.Start != "" {
		annotations[v1alpha1.AnnotationFormerStarts] = formerStarts(former, former.Spec.Start)
	}
	nb.Annotations = merged(nb.Annotations, annotations)
	tracing.Note(ctx, nb)
	delete(nb.Annotations, v1alpha1.AnnotationStopCause)
	delete(nb.Annotations, v1alpha1.AnnotationStopTime)
	delete(nb.Annotations, v1alpha1.AnnotationStartAsked)
	delete(nb.Annotations, v1alpha1.AnnotationAdopt)
	nb.Spec = notebookSpec(s.cfg, req, name, home)
	nb.Replaced()
	var err error
	if former == nil {
		err = s.client.Create(ctx, nb)
	} else {
		err = s.client.Patch(ctx, nb, podrules.PatchOver(former))
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

// rollback gives back the slot of a start that cannot be, and removes those
// Secrets that were not there before. Failing that, the slot counts for slotGrace,
// and the next start of the same server reuses the Secrets.
func (s *Service) rollback(ctx context.Context, req Request, name string, secrets []*corev1.Secret) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	_ = s.slots.release(ctx, req.User, name, req.Start)
	for _, secret := range secrets {
		_ = s.client.Delete(ctx, secret, client.Preconditions{UID: &secret.UID})
	}
}

// Stop takes the server's Pod away, also one that is only starting; object and
// volumes stay. It does not wait. It is the owner's own stop, unless somebody else's
// was announced: whoever stops a server through the Hub, and is not its owner, says
// so in its annotations first. Stopping a stopped server does nothing.
// Errors: ErrNotFound, ErrNameTaken.
func (s *Service) Stop(ctx context.Context, k Key) error {
	nb, err := s.get(ctx, k)
	if err != nil {
		return err
	}
	return s.stop(ctx, nb, "")
}

// StopStart is Stop for one start: another one runs on, and that one, which has perhaps not
// been asked for yet, will not begin any more.
func (s *Service) StopStart(ctx context.Context, k Key, start string) error {
	for attempt := 1; ; attempt++ {
		nb, err := s.get(ctx, k)
		switch {
		case err != nil:
			return err
		case start != nb.Spec.Start:
			return s.noteFormerStart(ctx, nb, start)
		}
		if err = s.stop(ctx, nb, nb.ResourceVersion); attempt < attempts && apierrors.IsConflict(err) {
			continue
		}
		return err
	}
}

// stop writes over that version of the notebook alone, or over any if it is empty.
func (s *Service) stop(ctx context.Context, nb *v1alpha1.JupyterNotebook, version string) error {
	if !nb.Spec.Stopped {
		of := `"metadata":{"resourceVersion":"` + version + `"`
		if version == "" {
			of = `"metadata":{"name":"` + nb.Name + `"`
		}
		patch := "{" + of + `,"annotations":{"` + v1alpha1.AnnotationStopCause + `":null,"` + v1alpha1.AnnotationStopTime + `":null}},"spec":{"stopped":true}}`
		if announced(nb, s.now()) > 0 {
			patch = "{" + of + `},"spec":{"stopped":true}}`
		}
		if err := s.client.Patch(ctx, nb, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
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
// A claim that spec names, or that was there before, may be shared and stays; storage.home.onRemoval
// may say otherwise. Nothing of a static home is deleted.
// It does not wait, and removing what is not there does nothing.
func (s *Service) Remove(ctx context.Context, k Key) error {
	nb, name, err := s.locate(ctx, s.requester(Request{Key: k}))
	if err != nil {
		return err
	}
	if nb != nil {
		policy := metav1.DeletePropagationBackground
		err := s.client.Delete(ctx, nb, client.Preconditions{UID: &nb.UID}, &client.DeleteOptions{PropagationPolicy: &policy})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete notebook: %w", err)
		}
		s.snapshot.drop(nb)
	}
	if err := s.removeClaims(ctx, k, nb, name); err != nil {
		return err
	}
	for _, suffix := range []string{envSecretSuffix, sslSecretSuffix} {
		if err := s.removeSecret(ctx, name, suffix, k); err != nil {
			return err
		}
	}
	if err := s.slots.release(ctx, k.User, name, ""); err != nil {
		return fmt.Errorf("release the server's slot: %w", err)
	}
	return nil
}

// removeSecret deletes what was written for a start of the notebook of that name, if it is the user's.
func (s *Service) removeSecret(ctx context.Context, notebook, suffix string, k Key) error {
	var secret corev1.Secret
	err := s.live.Get(ctx, client.ObjectKey{Namespace: s.cfg.Namespace, Name: notebook + suffix}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("read environment: %w", err)
	case !isEnvOf(&secret, notebook), secret.Labels[v1alpha1.LabelHubUsername] != podrules.LabelValue(k.User):
		return nil
	}
	if err := s.client.Delete(ctx, &secret, client.Preconditions{UID: &secret.UID}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete environment: %w", err)
	}
	return nil
}

// Rename gives a stopped server another name. Its object, its home and its
// kernels stay what they are; renaming what is not there does nothing. Errors:
// ErrRunning, ErrNameTaken when there is a server of the new name already.
func (s *Service) Rename(ctx context.Context, k Key, to string) error {
	if !utf8.ValidString(to) {
		return fmt.Errorf("%w: server must be UTF-8", ErrInvalid)
	}
	renamed := k
	renamed.Server = to
	if there, _, err := s.locate(ctx, s.requester(Request{Key: renamed})); err != nil {
		return err
	} else if there != nil {
		return ErrNameTaken
	}
	nb, _, err := s.locate(ctx, s.requester(Request{Key: k}))
	switch {
	case err != nil:
		return err
	case nb != nil && !nb.Spec.Stopped && !nb.StartHasFailed():
		return ErrRunning
	}
	home, err := s.ownClaim(ctx, k, "")
	if err != nil {
		return err
	}
	if home != nil {
		if err := s.noteOwner(ctx, home, renamed, ""); err != nil {
			return err
		}
	}
	if err := s.renameDirectories(ctx, k, renamed); err != nil {
		return err
	}
	if nb == nil {
		return nil
	}
	if err := nb.Malformed(); err != nil {
		return fmt.Errorf("rename notebook: %w", err)
	}
	before := nb.DeepCopy()
	nb.Spec.Server = to
	nb.Labels = merged(nb.Labels, notebookLabels(nb.Name, renamed))
	nb.Annotations = merged(nb.Annotations, rawNames(renamed))
	if home != nil {
		nb.Annotations[v1alpha1.AnnotationClaimTemplate] = ""
	}
	if err := s.client.Patch(ctx, nb, podrules.PatchOver(before)); err != nil {
		return fmt.Errorf("rename notebook: %w", err)
	}
	s.snapshot.put(nb)
	return nil
}

// State is answered from memory. Errors: ErrNotFound, ErrNotSynced.
func (s *Service) State(_ context.Context, k Key) (State, error) { return s.snapshot.state(k) }

// States is answered from memory, in no order. Error: ErrNotSynced.
func (s *Service) States(context.Context) ([]State, error) { return s.snapshot.states() }
