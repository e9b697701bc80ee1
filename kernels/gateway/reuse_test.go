package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
)

// kernelOf is an object as kubectl may make it.
func kernelOf(meta metav1.ObjectMeta, user, notebook string) *v1alpha1.JupyterKernel {
	return &v1alpha1.JupyterKernel{ObjectMeta: meta, Spec: v1alpha1.JupyterKernelCRDSpec{
		Gateway: testGateway, KernelSpec: "python-cpu", User: user, Notebook: notebook, Run: 1}}
}

// remake puts another object in a kernel's place, running, with an agent.
func (w *world) remake(id, user, notebook string) *fakeAgent {
	w.t.Helper()
	ctx := context.Background()
	require.NoError(w.t, client.IgnoreNotFound(w.api.Delete(ctx, &v1alpha1.JupyterKernel{ObjectMeta: w.meta(id)})))
	require.NoError(w.t, w.api.Create(ctx, kernelOf(w.meta(id), user, notebook)))
	agent := w.agent(id, 1)
	w.phase(id, v1alpha1.KernelReady, 1, agent.ip)
	return agent
}

func steal(t *testing.T) []byte {
	t.Helper()
	m := wire.NewBuilder("alice").New(wire.Shell, wire.TypeExecuteRequest, nil, map[string]string{"code": "steal()"})
	data, err := m.AppendLegacyText(nil)
	require.NoError(t, err)
	return data
}

// runsOutWithout writes cells to a socket until it is closed, and requires that
// none of them, nor a connection, has come to a kernel.
func runsOutWithout(t *testing.T, conn *websocket.Conn, victim *fakeAgent) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for {
			if _, _, err := conn.Read(ctx); err != nil {
				return
			}
		}
	}()
	for open := true; open; {
		_ = conn.Write(ctx, websocket.MessageText, steal(t))
		select {
		case <-closed:
			open = false
		case m := <-victim.got:
			require.Fail(t, "the other kernel was sent a message", m.Type())
		case <-time.After(10 * time.Millisecond):
		}
	}
	require.NoError(t, ctx.Err(), "the socket stays open")
	time.Sleep(100 * time.Millisecond)
	assert.Empty(t, victim.got, "what the other kernel was sent")
	assert.Empty(t, victim.connected, "who connected to the other kernel")
}

// TestASocketDoesNotFollowItsIDToAnotherKernel: a client that leaves its
// replies unread keeps the socket's loop from seeing that the kernel is gone.
// Once it looks, another kernel has the id.
func TestASocketDoesNotFollowItsIDToAnotherKernel(t *testing.T) {
	for name, next := range map[string]struct{ user, notebook string }{
		"of somebody else":                {"bob", "nb-bob"},
		"of the same owner":               {"alice", "nb-alice"},
		"of nobody":                       {"", ""},
		"of a notebook named as the user": {"", "alice"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.start("nb-alice", "python-cpu")
			w.phase(id, v1alpha1.KernelParked, 1, "")
			conn, _, err := websocket.Dial(context.Background(), w.url+"/api/kernels/"+id+"/channels?session_id=s",
				&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"token " + w.tokens["nb-alice"]}}})
			require.NoError(t, err)
			defer conn.CloseNow()
			conn.SetReadLimit(-1)
			for i := range 1600 { // each is answered with three messages that repeat its header
				data := fmt.Sprintf(`{"channel":"shell","header":{"msg_id":"m%d","msg_type":"kernel_info_request","pad":%q},"content":{}}`,
					i, strings.Repeat("x", 200<<10))
				require.NoError(t, conn.Write(context.Background(), websocket.MessageText, []byte(data)))
			}
			time.Sleep(500 * time.Millisecond)
			runsOutWithout(t, conn, w.remake(id, next.user, next.notebook))
		})
	}
}

// TestASocketEndsWhenItsKernelIsGivenAway: the object stays, its owner does not.
func TestASocketEndsWhenItsKernelIsGivenAway(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.JupyterKernelCRDSpec){
		"to another user":    func(s *v1alpha1.JupyterKernelCRDSpec) { s.User = "bob" },
		"to nobody":          func(s *v1alpha1.JupyterKernelCRDSpec) { s.User, s.Notebook = "", "" },
		"to another gateway": func(s *v1alpha1.JupyterKernelCRDSpec) { s.Gateway = "other" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id, agent, p := ready(t, w, "s")
			k := w.kernel(id)
			change(&k.Spec)
			require.NoError(t, w.api.Update(context.Background(), k))
			p.closed()
			require.Equal(t, http.StatusNotFound, w.call("nb-alice", "GET", "/api/kernels/"+id, "").status)
			_ = p.conn.Write(context.Background(), websocket.MessageText, steal(t))
			assert.Empty(t, agent.got)
		})
	}
}

// TestALinkIsCutAtOnce: not even a client that reads nothing keeps the link to
// a kernel that is no longer its owner's.
func TestALinkIsCutAtOnce(t *testing.T) {
	w := newWorld(t)
	id, agent, _ := ready(t, w, "other")
	conn, _, err := websocket.Dial(context.Background(), w.url+"/api/kernels/"+id+"/channels?session_id=s",
		&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"token " + w.tokens["nb-alice"]}}})
	require.NoError(t, err)
	defer conn.CloseNow()
	for query := <-agent.connected; !strings.Contains(query, "session=s"); query = <-agent.connected {
	}
	b := wire.Builder{Session: "k", Now: time.Now}
	published := make(chan struct{})
	go func() { // until the link is cut
		defer close(published)
		for range 60 {
			agent.publish("s", b.Stream(nil, "stdout", strings.Repeat("x", 1<<20)))
		}
	}()
	time.Sleep(500 * time.Millisecond)
	k := w.kernel(id)
	k.Spec.User = "bob"
	require.NoError(t, w.api.Update(context.Background(), k))
	select {
	case <-published:
	case <-time.After(patience):
		require.Fail(t, "the agent's connection is still open")
	}
	for len(agent.got) > 0 {
		<-agent.got
	}
	for range 20 {
		if conn.Write(context.Background(), websocket.MessageText, steal(t)) != nil {
			break
		}
	}
	time.Sleep(100 * time.Millisecond)
	assert.Empty(t, agent.got)
}

// TestASubscriptionIsOfOneObject goes through what an informer may tell.
func TestASubscriptionIsOfOneObject(t *testing.T) {
	id := Identity{User: "alice"}
	st := &store{gateway: testGateway}
	owned := func(k *v1alpha1.JupyterKernel) bool { return st.belongs(id, k) }
	object := func(uid, user string) *v1alpha1.JupyterKernel {
		k := kernelOf(metav1.ObjectMeta{Name: someID}, user, "")
		k.UID = types.UID(uid)
		return k
	}
	first, changed, second := object("1", "alice"), object("1", "alice"), object("2", "alice")
	going := object("1", "alice")
	going.DeletionTimestamp = new(metav1.Now())
	foreign := object("1", "bob")
	bound := func(s *subscription) { s.bind(first, owned) }
	for name, tell := range map[string]struct {
		what func(w *watch, s *subscription)
		want *v1alpha1.JupyterKernel
	}{
		"a change":                    {func(w *watch, s *subscription) { bound(s); w.OnUpdate(first, changed) }, changed},
		"a change before":             {func(w *watch, s *subscription) { w.OnUpdate(first, changed); bound(s) }, changed},
		"a resync":                    {func(w *watch, s *subscription) { bound(s); w.OnUpdate(first, first) }, first},
		"the end of an earlier one":   {func(w *watch, s *subscription) { bound(s); w.OnDelete(second) }, first},
		"an earlier one's end before": {func(w *watch, s *subscription) { w.OnDelete(second); bound(s) }, first},
		"its end":                     {func(w *watch, s *subscription) { bound(s); w.OnDelete(first) }, nil},
		"its end before":              {func(w *watch, s *subscription) { w.OnDelete(first); bound(s) }, nil},
		"a tombstone": {func(w *watch, s *subscription) {
			bound(s)
			w.OnDelete(toolscache.DeletedFinalStateUnknown{Key: testNS + "/" + someID, Obj: first})
		}, nil},
		"its deletion has begun": {func(w *watch, s *subscription) { bound(s); w.OnUpdate(first, going) }, nil},
		"its end and a next one": {func(w *watch, s *subscription) { bound(s); w.OnDelete(first); w.OnAdd(second, false) }, nil},
		"a next one after a gap": {func(w *watch, s *subscription) { bound(s); w.OnUpdate(first, second) }, nil},
		"an owner for a moment":  {func(w *watch, s *subscription) { bound(s); w.OnUpdate(first, foreign); w.OnUpdate(foreign, changed) }, nil},
		"read from an old cache": {func(w *watch, s *subscription) { w.OnDelete(first); w.OnAdd(second, false); bound(s) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatch(func(*v1alpha1.JupyterKernel) {})
			s := w.subscribe(types.NamespacedName{Name: someID})
			defer s.close()
			tell.what(w, s)
			if tell.want == nil {
				assert.Nil(t, s.latest())
				select {
				case <-s.over:
				default:
					assert.Fail(t, "not over")
				}
				return
			}
			assert.Same(t, tell.want, s.latest())
			assert.Empty(t, s.over)
		})
	}
}

func TestIDsOfRemovedKernelsRest(t *testing.T) {
	now := time.Now()
	w := newWorld(t)
	w.server.store.resting.now = func() time.Time { return now }
	chosen := func(who string) int {
		return w.call(who, "POST", "/api/kernels", fmt.Sprintf(`{"name":"python-cpu","env":{"KERNEL_ID":%q}}`, someID)).status
	}
	require.Equal(t, http.StatusCreated, chosen("nb-alice"))
	require.Equal(t, http.StatusNoContent, w.call("nb-alice", "DELETE", "/api/kernels/"+someID, "").status)
	assert.Equal(t, http.StatusConflict, chosen("nb-bob"), "deleted here")
	assert.Equal(t, http.StatusConflict, chosen("ci"))
	require.Equal(t, http.StatusCreated, chosen("nb-alice"), "its own")
	require.NoError(t, w.api.Delete(context.Background(), w.kernel(someID)))
	assert.Eventually(t, func() bool { return chosen("nb-bob") == http.StatusConflict }, patience, time.Millisecond)
	now = now.Add(restFor)
	assert.Equal(t, http.StatusConflict, chosen("nb-bob"), "deleted elsewhere")
	now = now.Add(time.Second)
	assert.Equal(t, http.StatusCreated, chosen("nb-bob"))
}

func TestRestingIsBounded(t *testing.T) {
	now := time.Now()
	r := newResting(func() time.Time { return now })
	for i := range maxResting + 10 {
		r.rest(kernelOf(metav1.ObjectMeta{Name: fmt.Sprint(i)}, "alice", ""))
	}
	assert.Len(t, r.by, maxResting)
	assert.False(t, r.rests(types.NamespacedName{Name: "9"}, "user/bob"))
	assert.True(t, r.rests(types.NamespacedName{Name: "10"}, "user/bob"))
	now = now.Add(restFor + 1)
	r.rest(kernelOf(metav1.ObjectMeta{Name: "10"}, "alice", ""))
	assert.Len(t, r.by, 1)
	assert.Len(t, r.queue, 1)
	assert.True(t, r.rests(types.NamespacedName{Name: "10"}, "user/bob"))
}

// TestReplicasBindToTheObject: what holds at every replica, also at one that
// has just started and knows of no id that rests, is the UID.
func TestReplicasBindToTheObject(t *testing.T) {
	s := newSite(t)
	a := s.replica()
	id := s.start(a)
	first := newFakeAgent(t, s.key, string(s.kernel(id).UID), 1)
	s.status(id, v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, Run: 1, PodIP: first.ip, ReadyTime: new(metav1.Now())})
	p := s.open(a, id, "s")
	<-first.connected
	old := s.kernel(id)

	require.NoError(t, s.api.Delete(t.Context(), old))
	again := kernelOf(s.meta(id), "bob", "")
	s.create(again)
	second := newFakeAgent(t, s.key, string(again.UID), 1)
	s.status(id, v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, Run: 1, PodIP: second.ip, ReadyTime: new(metav1.Now())})
	p.closed()
	b := s.replica() // knows of no removal
	for _, r := range []*replica{a, b} {
		for _, route := range [][2]string{{"GET", ""}, {"DELETE", ""}, {"POST", "/restart"}, {"POST", "/interrupt"}} {
			status, _ := s.call(r, route[0], "/api/kernels/"+id+route[1], "{}")
			assert.Equal(t, http.StatusNotFound, status, route)
		}
		_, resp, err := dialPeer(t, r.url+"/api/kernels/"+id+"/channels?session_id=s", s.token)
		require.Error(t, err)
		assert.Equal(t, http.StatusNotFound, resp.StatusCode)
	}
	assert.Empty(t, second.connected)

	// A cache that still shows the first object writes nothing to the second.
	st := newStore(s.cfg, s.api, s.api, time.Now)
	for name, write := range map[string]func() error{
		"wake":      func() error { return st.wake(t.Context(), old) },
		"interrupt": func() error { return st.interrupted(t.Context(), old, time.Now()) },
		"remove":    func() error { return st.remove(t.Context(), old) },
	} {
		err := write()
		require.Error(t, err, name)
		assert.Contains(t, []kind{kindNotFound, kindConflict}, explain(err).kind, name)
	}
	now := s.kernel(id)
	assert.Equal(t, again.UID, now.UID)
	assert.EqualValues(t, 1, now.Spec.Run)
	assert.Empty(t, now.Annotations)
}
