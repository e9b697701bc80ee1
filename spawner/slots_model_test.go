package spawner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// apiModel is an API server of one namespace: conditional writes, unique
// names, generations, status apart. Every request waits for its turn, and may
// be lost on its way there or on its way back.
type apiModel struct {
	client.Client
	mu      sync.Mutex // guards everything below
	objects map[string]client.Object
	version int64
	// stopped is the generation of each notebook's last stop.
	stopped map[string]int64
	// turn gives the fate of the next request.
	waiting []chan fate
	healthy bool
}

type fate int

const (
	served fate = iota
	lostRequest
	lostAnswer
)

var errLost = errors.New("connection reset by peer")

// request runs one request when the scheduler says so.
func (m *apiModel) request(serve func() error) error {
	turn := make(chan fate)
	m.mu.Lock()
	m.waiting = append(m.waiting, turn)
	m.mu.Unlock()
	f := <-turn
	if f == lostRequest {
		return errLost
	}
	m.mu.Lock()
	err := serve()
	m.mu.Unlock()
	if f == lostAnswer {
		return errLost
	}
	return err
}

// pending is how many requests wait.
func (m *apiModel) pending() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.waiting)
}

// step serves one waiting request, chosen at random.
func (m *apiModel) step(rng *rand.Rand) {
	m.mu.Lock()
	i := rng.IntN(len(m.waiting))
	turn := m.waiting[i]
	m.waiting = append(m.waiting[:i], m.waiting[i+1:]...)
	m.mu.Unlock()
	f := served
	if !m.healthy && rng.IntN(6) == 0 {
		f = lostRequest + fate(rng.IntN(2))
	}
	turn <- f
}

func place(o client.Object) string { return fmt.Sprintf("%T %s", o, o.GetName()) }

var anything = schema.GroupResource{Resource: "anything"}

func into(o, stored client.Object) {
	reflect.ValueOf(o).Elem().Set(reflect.ValueOf(stored.DeepCopyObject()).Elem())
}

func (m *apiModel) Get(_ context.Context, k client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	return m.request(func() error {
		o.SetName(k.Name)
		stored, ok := m.objects[place(o)]
		if !ok {
			return apierrors.NewNotFound(anything, k.Name)
		}
		into(o, stored)
		return nil
	})
}

func (m *apiModel) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	return m.request(func() error {
		all, ok := list.(*v1alpha1.JupyterNotebookList)
		if !ok {
			return nil // of homes, of which the model has none
		}
		for _, o := range m.objects {
			if nb, ok := o.(*v1alpha1.JupyterNotebook); ok {
				all.Items = append(all.Items, *nb.DeepCopy())
			}
		}
		return nil
	})
}

func (m *apiModel) store(o client.Object) {
	m.version++
	o.SetResourceVersion(strconv.FormatInt(m.version, 10))
	m.objects[place(o)] = o.DeepCopyObject().(client.Object)
	if nb, ok := o.(*v1alpha1.JupyterNotebook); ok && nb.Spec.Stopped {
		m.stopped[nb.Name] = nb.Generation
	}
}

func (m *apiModel) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	return m.request(func() error {
		if _, taken := m.objects[place(o)]; taken {
			return apierrors.NewAlreadyExists(anything, o.GetName())
		}
		o.SetUID(types.UID(fmt.Sprintf("uid-%d", m.version)))
		o.SetGeneration(1)
		o.SetCreationTimestamp(metav1.Now())
		m.store(o)
		return nil
	})
}

func (m *apiModel) Update(_ context.Context, o client.Object, _ ...client.UpdateOption) error {
	return m.request(func() error { return m.update(o, false) })
}

func (m *apiModel) update(o client.Object, status bool) error {
	stored, ok := m.objects[place(o)]
	if !ok {
		return apierrors.NewNotFound(anything, o.GetName())
	}
	if stored.GetResourceVersion() != o.GetResourceVersion() {
		return apierrors.NewConflict(anything, o.GetName(), errors.New("changed"))
	}
	if nb, ok := o.(*v1alpha1.JupyterNotebook); ok {
		before := stored.(*v1alpha1.JupyterNotebook)
		if status {
			nb.Spec = *before.Spec.DeepCopy()
		} else {
			nb.Status = *before.Status.DeepCopy()
			nb.Generation++
		}
	}
	m.store(o)
	return nil
}

func (m *apiModel) Patch(_ context.Context, o client.Object, patch client.Patch, _ ...client.PatchOption) error {
	return m.request(func() error {
		if data, err := patch.Data(o); err != nil || bytes.Contains(data, []byte("resourceVersion")) {
			return errors.Join(err, m.update(o, false)) // over the version that was read
		}
		// only Stop patches whatever is there
		stored, ok := m.objects[place(o)].(*v1alpha1.JupyterNotebook)
		if !ok {
			return apierrors.NewNotFound(anything, o.GetName())
		}
		changed := stored.DeepCopy()
		changed.Spec.Stopped = true
		changed.Generation++
		m.store(changed)
		into(o, changed)
		return nil
	})
}

func (m *apiModel) Delete(_ context.Context, o client.Object, _ ...client.DeleteOption) error {
	return m.request(func() error { delete(m.objects, place(o)); return nil })
}

func (m *apiModel) Status() client.SubResourceWriter { return statusModel{m: m} }

type statusModel struct {
	client.SubResourceWriter
	m *apiModel
}

func (s statusModel) Update(_ context.Context, o client.Object, _ ...client.SubResourceUpdateOption) error {
	return s.m.request(func() error { return s.m.update(o, true) })
}

func (s statusModel) Patch(_ context.Context, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	return s.m.request(func() error { return s.m.update(o, true) })
}

// world is an API server, replicas, and the Pods that leaders have made.
type world struct {
	t   *testing.T
	api *apiModel
	rng *rand.Rand
	// pods holds the generation of each notebook for which its Pod was made last;
	// the API's mutex guards it.
	pods  map[string]int64
	limit int32
}

// running are the servers that have a Pod and are meant to. A stop ends the Pods
// of every generation before it, also the one that a late leader makes after it.
func (w *world) running() []string {
	var names []string
	for _, o := range w.api.objects {
		nb, ok := o.(*v1alpha1.JupyterNotebook)
		if ok && !nb.Spec.Stopped && !nb.StartHasFailed() && w.pods[nb.Name] > w.api.stopped[nb.Name] {
			names = append(names, nb.Name)
		}
	}
	return names
}

// start asks until the answer is definite, as the Hub's spawner does; some give
// up half way, as a Hub that is killed does.
func (w *world) start(s *Service, req Request, patience int) error {
	for ; patience > 0; patience-- {
		_, err := s.Start(context.Background(), req)
		if err == nil || errors.Is(err, ErrTooManyServers) {
			return err
		}
		time.Sleep(time.Second)
	}
	return errLost
}

// lead is a leader: it looks at notebooks as they were a while ago, and makes
// Pods for those that have a slot.
func (w *world) lead(ctx context.Context, c *controller, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 2))
	cache := map[string]*v1alpha1.JupyterNotebook{}
	for ctx.Err() == nil {
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		w.api.mu.Lock()
		pods := maps.Clone(w.pods)
		for key, o := range w.api.objects {
			if nb, ok := o.(*v1alpha1.JupyterNotebook); ok && rng.IntN(3) > 0 { // else: an old view
				cache[key] = nb.DeepCopy()
			}
		}
		w.api.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(cache)) {
			nb := cache[key]
			if nb.Spec.Stopped || nb.StartHasFailed() || pods[nb.Name] == nb.Generation {
				continue
			}
			err := c.confirmSlot(context.Background(), nb)
			var stop *blocked
			switch {
			case err == nil:
				w.api.mu.Lock()
				w.pods[nb.Name] = max(w.pods[nb.Name], nb.Generation)
				w.api.mu.Unlock()
			case isStop(err, &stop):
				failed := nb.DeepCopy()
				failed.Status.Phase, failed.Status.Start, failed.Status.ObservedGeneration = stop.phase, nb.Spec.Start, nb.Generation
				_ = c.client.Status().Update(context.Background(), failed) // a conflict: the next look decides
			}
		}
	}
}

func (w *world) replica() *Service {
	cfg := testConfig()
	return &Service{
		cfg: cfg, client: w.api, live: w.api, snapshot: newSnapshot(cfg.Namespace), now: time.Now,
		slots: newSlotStore(cfg.Namespace, w.api, w.api),
	}
}

// TestServersPerUserInAnyOrder runs starts, stops, two leaders and lost
// messages in random orders. There are never more servers than the limit, and
// where nobody gave up there are exactly as many.
func TestServersPerUserInAnyOrder(t *testing.T) {
	runs := 400
	if testing.Short() {
		runs = 50
	}
	for seed := range uint64(runs) {
		synctest.Test(t, func(t *testing.T) { anyOrder(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func anyOrder(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &world{t: t, rng: rng, api: &apiModel{objects: map[string]client.Object{}, stopped: map[string]int64{}}, pods: map[string]int64{}, limit: 1 + rng.Int32N(3)}
	w.api.healthy = rng.IntN(4) == 0
	quitters, stops, slow := rng.IntN(2) == 0, rng.IntN(2) == 0, rng.IntN(2) == 0
	replicas := []*Service{w.replica(), w.replica()}
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 2 {
		go w.lead(ctx, &controller{client: w.api, slots: replicas[i].slots, now: time.Now}, seed+uint64(i))
	}
	servers := 2 + rng.IntN(6)
	results := make(chan error, 100)
	waiting := 0
	for i := range servers {
		for attempt := range 1 + rng.IntN(2) {
			req := testRequest("alice", fmt.Sprintf("s%d", i), fmt.Sprintf("start-%d-%d", i, attempt))
			req.ServersPerUser = w.limit
			patience := 1000
			if quitters && rng.IntN(3) == 0 {
				patience = 1 + rng.IntN(2)
			}
			waiting++
			delay := time.Duration(rng.IntN(2000)) * time.Millisecond
			go func() {
				time.Sleep(delay)
				results <- w.start(replicas[i%2], req, patience)
			}()
		}
		if stops && rng.IntN(2) == 0 {
			waiting++
			delay := time.Duration(rng.IntN(90)) * time.Second
			go func() {
				time.Sleep(delay)
				for {
					err := replicas[(i+1)%2].Stop(context.Background(), Key{User: "alice", Server: fmt.Sprintf("s%d", i)})
					if err == nil || errors.Is(err, ErrNotFound) {
						break
					}
				}
				results <- nil
			}()
		}
	}
	advance := func() {
		synctest.Wait()
		switch {
		case w.api.pending() > 0 && rng.IntN(10) > 0:
			w.api.step(rng)
		case slow && rng.IntN(4) == 0:
			time.Sleep(slotGrace)
		default:
			time.Sleep(time.Duration(1+rng.IntN(1000)) * time.Millisecond)
		}
		synctest.Wait()
		if !t.Failed() { // once is enough, and everybody must come to an end
			assert.LessOrEqual(t, len(w.running()), int(w.limit), "seed %d: %v", seed, w.running())
		}
	}
	for waiting > 0 {
		advance()
		for len(results) > 0 {
			<-results //nolint:errcheck // how each start ended is its own affair
			waiting--
		}
	}
	w.api.healthy = true
	for range 400 {
		advance()
	}
	if !quitters && !stops && !slow {
		assert.Len(t, w.running(), min(int(w.limit), servers), "seed %d", seed)
		for _, o := range w.api.objects {
			if nb, ok := o.(*v1alpha1.JupyterNotebook); ok {
				assert.False(t, nb.StartHasFailed(), "seed %d: what was accepted runs: %s", seed, nb.Name)
			}
		}
	}
	cancel()
	for {
		synctest.Wait()
		if w.api.pending() == 0 {
			time.Sleep(time.Hour)
			synctest.Wait()
			if w.api.pending() == 0 {
				break
			}
		}
		w.api.step(rng)
	}
}
