package spawner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/clusterfault"
	"github.com/elastichub/elastichub/groups/naming"
	"github.com/elastichub/elastichub/podrules"
)

// How many servers a user runs is exact, whatever replicas do at once: every
// user, however the name is spelled, has one ConfigMap with a slot for each server that runs or
// is about to, and the API server takes only writes to the version that was read.
//
//	Service.Start   reads the slots, then the user's notebooks, and reserves a
//	                slot if fewer than the limit are in use: one conditional
//	                write. Only then does it write the notebook.
//	the controller  confirms the slot by another conditional write before the
//	                notebook gets its first Pod. No slot, no Pod.
//
// A slot whose notebook was never seen may belong to a start that crashed, or
// to one that is only slow. It is given away after slotGrace; the slow one then
// needs another slot to be confirmed. So no clock, crash or delay leads to one
// server too many; they can only make a start fail.
//
// The ConfigMap is owned by the notebooks that it speaks of and goes with the last
// of them; one that never had any is swept away.
const (
	slotsSuffix = "-servers"
	// slotGrace is far longer than a start takes from its slot to its notebook.
	slotGrace = 30 * time.Second
	// slotAttempts bounds a group's attempts to write the ConfigMap. Each one that
	// is lost was won by another replica for the same user, of whose starts there can be
	// as many as the limit, or by the leader's controller.
	slotAttempts = 100
	slotBackoff  = 20 * time.Millisecond

	// sweepInterval is how often abandoned ConfigMaps of slots are looked for.
	sweepInterval = 10 * time.Minute

	// componentSlots is the label of the ConfigMaps of slots.
	componentSlots = "server-slots"
)

// errNoSlot: the ConfigMap has no slot for the notebook.
var errNoSlot = errors.New("spawner: no slot for the server")

// slot is one entry of such a ConfigMap, by the name of the notebook.
type slot struct {
	Start string    `json:"start"`
	Since time.Time `json:"since"`
	// Confirmed is when the controller last saw the notebook wanting a Pod.
	Confirmed time.Time `json:"confirmed,omitzero"`
}

type slots map[string]slot

// inUse are the names that count against the limit: servers that run or are to
// run, and starts whose notebook is still to come. The notebooks, all of one
// user, must have been read after the ConfigMap.
func (s slots) inUse(notebooks []v1alpha1.JupyterNotebook, now time.Time) map[string]bool {
	inUse, starts := map[string]bool{}, map[string]string{}
	for i := range notebooks {
		nb := &notebooks[i]
		starts[nb.Name] = nb.Spec.Start
		if nb.CountsAsRunning() {
			inUse[nb.Name] = true
		}
	}
	for name, held := range s {
		if start, exists := starts[name]; exists && start == held.Start {
			continue // the notebook has spoken
		}
		if !held.Confirmed.IsZero() {
			continue // had its notebook, which is gone or was changed
		}
		if age := now.Sub(held.Since); age < slotGrace {
			inUse[name] = true
		}
	}
	return inUse
}

// slotStore reads and writes the slots of one user at a time. Nothing is cached.
type slotStore struct {
	namespace string
	client    client.Client
	live      client.Reader
	now       func() time.Time
	groups    *slotsGroups
}

func newSlotStore(namespace string, writer client.Client, live client.Reader) slotStore {
	return slotStore{namespace: namespace, client: writer, live: live, now: time.Now, groups: &slotsGroups{}}
}

// account is one text for all spellings of a name that a directory takes for one
// person's: all of them have one limit.
func account(user string) string { return naming.Fold(user) }

func slotsName(user string) string { return Name(Key{User: account(user)}) + slotsSuffix }

// read returns the user's ConfigMap; a new one that is not written yet has no
// resource version.
func (l slotStore) read(ctx context.Context, user string) (*corev1.ConfigMap, slots, error) {
	cm := &corev1.ConfigMap{}
	err := l.live.Get(ctx, client.ObjectKey{Namespace: l.namespace, Name: slotsName(user)}, cm)
	if apierrors.IsNotFound(err) {
		cm = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: l.namespace, Name: slotsName(user),
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelName: v1alpha1.AppName,
				v1alpha1.LabelComponent: componentSlots, v1alpha1.LabelHubUsername: podrules.LabelValue(account(user)),
			},
			Annotations: map[string]string{v1alpha1.LabelHubUsername: account(user)},
		}}
		return cm, slots{}, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read slots: %w", err)
	}
	if cm.Labels[v1alpha1.LabelComponent] != componentSlots || cm.Annotations[v1alpha1.LabelHubUsername] != account(user) {
		return nil, nil, ErrNameTaken
	}
	return cm, decodeSlots(cm.Data), nil
}

// decodeSlots forgets what cannot be read: nobody but us writes it, and the
// notebooks count without it.
func decodeSlots(data map[string]string) slots {
	s := slots{}
	for name, text := range data {
		var one slot
		if err := json.Unmarshal([]byte(text), &one); err == nil {
			s[name] = one
		}
	}
	return s
}

// write is refused with a conflict when the ConfigMap has changed since read.
func (l slotStore) write(ctx context.Context, read, cm *corev1.ConfigMap, s slots) error {
	cm.Data = make(map[string]string, len(s))
	for name, one := range s {
		text, err := json.Marshal(one)
		if err != nil {
			return fmt.Errorf("write slots: %w", err)
		}
		cm.Data[name] = string(text)
	}
	var err error
	if cm.ResourceVersion == "" {
		err = l.client.Create(ctx, cm)
	} else {
		err = l.client.Patch(ctx, cm, podrules.PatchOver(read))
	}
	if err != nil {
		return fmt.Errorf("write slots: %w", err)
	}
	return nil
}

func lostRace(err error) bool {
	return clusterfault.Lost(err) || apierrors.IsNotFound(err)
}

// reserve makes sure that the server, whose notebook has that name, has a slot for
// this start. The error is ErrTooManyServers when limit others are in use.
func (l slotStore) reserve(ctx context.Context, k Key, name, start string, limit int32) error {
	return l.change(ctx, k.User, func(ctx context.Context, at *slotsRead) (bool, error) {
		own, err := at.notebooksOf(ctx, k)
		if err != nil {
			return false, err
		}
		inUse := at.slots.inUse(own, l.now())
		others := maps.Clone(inUse)
		delete(others, name)
		if int32(len(others)) >= max(limit, 1) {
			return false, ErrTooManyServers
		}
		if held, ok := at.slots[name]; ok && held.Start == start && inUse[name] {
			return false, nil // a repeated request
		}
		maps.DeleteFunc(at.slots, func(name string, _ slot) bool { return !inUse[name] })
		at.slots[name] = slot{Start: start, Since: l.now()}
		return true, nil
	})
}

// notebooksOf reads a person's notebooks from the API server: those that bear
// the user's name, in any spelling, and those that run since before the user was
// renamed, which every cache knows. What an older release started under another
// spelling, and no newer one since, is not found.
func (l slotStore) notebooksOf(ctx context.Context, k Key) ([]v1alpha1.JupyterNotebook, error) {
	var own []v1alpha1.JupyterNotebook
	seen := map[string]bool{}
	for label, value := range map[string]string{v1alpha1.LabelHubUsername: k.User, v1alpha1.LabelAccount: account(k.User)} {
		var named v1alpha1.JupyterNotebookList
		err := l.live.List(ctx, &named, client.InNamespace(l.namespace), client.MatchingLabels{label: podrules.LabelValue(value)})
		if err != nil {
			return nil, fmt.Errorf("count servers: %w", err)
		}
		for _, nb := range named.Items {
			if !seen[nb.Name] && countsFor(&nb, k) {
				own = append(own, nb)
				seen[nb.Name] = true
			}
		}
	}
	if !k.HubUser.Known() {
		return own, nil
	}
	var noted v1alpha1.JupyterNotebookList
	if err := l.client.List(ctx, &noted, client.InNamespace(l.namespace), ofHubUser(k.HubUser)); err != nil {
		return nil, fmt.Errorf("count servers: %w", err)
	}
	for _, nb := range noted.Items {
		if !seen[nb.Name] && nb.Spec.User != k.User && belongsTo(&nb, k) {
			own = append(own, nb)
		}
	}
	return own, nil
}

// belongsTo reports whether a notebook is the key's user's, of whatever server: by
// the Hub user where both are told, else by name.
func belongsTo(nb *v1alpha1.JupyterNotebook, k Key) bool {
	if noted := hubUserOf(nb); noted.Known() && k.HubUser.Known() {
		return noted.Is(k.HubUser)
	}
	return nb.Spec.User == k.User
}

// countsFor reports whether a notebook counts among the servers of the key's user: it
// is the user's, or that of another spelling of the name.
func countsFor(nb *v1alpha1.JupyterNotebook, k Key) bool {
	return belongsTo(nb, k) || nb.Spec.User != k.User && naming.Same(nb.Spec.User, k.User)
}

// confirm notes that the notebook is about to get a Pod. A slot that was given
// away is reserved anew if there is one; otherwise the error is ErrTooManyServers.
func (l slotStore) confirm(ctx context.Context, nb *v1alpha1.JupyterNotebook) error {
	err := l.confirmSlot(ctx, nb)
	if !errors.Is(err, errNoSlot) {
		return err
	}
	if err := l.reserve(ctx, keyOf(nb), nb.Name, nb.Spec.Start, nb.Spec.ServersPerUser); err != nil {
		return err
	}
	return l.confirmSlot(ctx, nb)
}

// confirmSlot makes the notebook an owner of the ConfigMap. It writes in any case,
// so that whoever gives the slot away at the same time is refused.
func (l slotStore) confirmSlot(ctx context.Context, nb *v1alpha1.JupyterNotebook) error {
	return l.change(ctx, nb.Spec.User, func(_ context.Context, at *slotsRead) (bool, error) {
		held, ok := at.slots[nb.Name]
		if !ok {
			return false, errNoSlot
		}
		// The slot is the server's: a start that lost to this one left it there.
		held.Start, held.Confirmed = nb.Spec.Start, l.now()
		at.slots[nb.Name] = held
		owner := metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "JupyterNotebook", Name: nb.Name, UID: nb.UID}
		others := slices.DeleteFunc(at.cm.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Name == nb.Name })
		at.cm.OwnerReferences = append(others, owner)
		return true, nil
	})
}

// release gives the slot of a notebook back before its time, if it is still of that start; an
// empty start means of any.
func (l slotStore) release(ctx context.Context, user, name, start string) error {
	return l.change(ctx, user, func(_ context.Context, at *slotsRead) (bool, error) {
		held, ok := at.slots[name]
		if !ok || start != "" && held.Start != start {
			return false, nil
		}
		delete(at.slots, name)
		return true, nil
	})
}

// sweep deletes the ConfigMaps that no notebook owns and whose slots are too old to
// become anything.
func (l slotStore) sweep(ctx context.Context) error {
	var all corev1.ConfigMapList
	err := l.live.List(ctx, &all, client.InNamespace(l.namespace), client.MatchingLabels{
		v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelComponent: componentSlots,
	})
	if err != nil {
		return fmt.Errorf("list slots: %w", err)
	}
	var faults []error
	for i := range all.Items {
		cm := &all.Items[i]
		if len(cm.OwnerReferences) > 0 || l.now().Sub(cm.CreationTimestamp.Time) < slotGrace ||
			len(decodeSlots(cm.Data).inUse(nil, l.now())) > 0 {
			continue
		}
		err := l.client.Delete(ctx, cm, client.Preconditions{UID: &cm.UID, ResourceVersion: &cm.ResourceVersion})
		if err != nil && !lostRace(err) {
			faults = append(faults, fmt.Errorf("delete slots %s: %w", cm.Name, err))
		}
	}
	return errors.Join(faults...)
}
