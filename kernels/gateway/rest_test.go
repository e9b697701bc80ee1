package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/lockedbuffer"
	"github.com/elastichub/elastichub/tokens"
)

const someID = "11111111-1111-4111-8111-111111111111"

var allRoutes = [][2]string{
	{"GET", "/api"}, {"GET", "/api/kernelspecs"}, {"GET", "/api/kernelspecs/python-cpu"}, {"GET", "/kernelspecs/python-cpu/logo.png"},
	{"GET", "/api/kernels"}, {"POST", "/api/kernels"}, {"GET", "/api/kernels/" + someID}, {"DELETE", "/api/kernels/" + someID},
	{"POST", "/api/kernels/" + someID + "/restart"}, {"POST", "/api/kernels/" + someID + "/interrupt"},
	{"GET", "/api/kernels/" + someID + "/channels"}, {"PUT", "/api/kernels"}, {"GET", "/nothing"}, {"GET", "/"},
}

func TestEveryRouteWantsAToken(t *testing.T) {
	w := newWorld(t)
	holder := tokens.Notebook{Namespace: testNS, Name: "nb-alice", UID: "nb-alice-uid", Start: "s1", User: "alice"}
	altered := func(change func(*tokens.Notebook)) string {
		n := holder
		change(&n)
		return "token " + w.issue(n)
	}
	good := w.tokens["nb-alice"]
	bad := map[string]string{
		"none":            "",
		"empty":           "token ",
		"empty bearer":    "Bearer  ",
		"unknown":         "token 0123456789abcdef0123456789abcdef",
		"wrong scheme":    "Basic " + good,
		"no scheme":       " " + good,
		"truncated":       "token " + good[:len(good)-4],
		"huge":            "token " + strings.Repeat("a", 9<<10),
		"client's prefix": "token " + ciToken[:len(ciToken)-1],
		"other uid":       altered(func(n *tokens.Notebook) { n.UID = "other" }),
		"other start":     altered(func(n *tokens.Notebook) { n.Start = "s0" }),
		"other user":      altered(func(n *tokens.Notebook) { n.User = "bob" }),
		"other namespace": altered(func(n *tokens.Notebook) { n.Namespace = "default" }),
		"no such name":    altered(func(n *tokens.Notebook) { n.Name = "nobody" }),
	}
	for _, route := range allRoutes {
		for name, authorization := range bad {
			a := w.call(authorization, route[0], route[1], "{}")
			assert.Equal(t, http.StatusUnauthorized, a.status, "%s %s with %s", route[0], route[1], name)
			p := a.problem(t)
			assert.Equal(t, "Unauthenticated", p.Reason, name)
			assert.NotContains(t, string(a.body), "uid", name)
			assert.NotEmpty(t, a.header.Get("WWW-Authenticate"), name)
		}
		for _, query := range []string{"?token=", "?token=" + good[:len(good)-4], "?token=" + good + "&token=" + good, "?Token=" + good, "?token=a;token=" + good} {
			a := w.call("", route[0], route[1]+query, "{}")
			assert.Equal(t, http.StatusUnauthorized, a.status, "%s %s%.10s", route[0], route[1], query)
		}
		assert.Equal(t, http.StatusUnauthorized, w.call("token wrong", route[0], route[1]+"?token="+good, "{}").status, "the header decides")
	}
	for _, path := range []string{"//api/kernels", "/api//kernels", "/api/./kernels", "/api/x/../kernels", "//", "/api/kernels//", "/..", "/./"} {
		assert.Equal(t, http.StatusUnauthorized, w.call("", "GET", path, "").status, "an unclean path: %s", path)
		assert.Equal(t, http.StatusUnauthorized, w.call("token wrong", "POST", path, "{}").status, path)
		assert.Empty(t, w.call("", "GET", path+"?token=x", "").header.Get("Location"))
	}
	assert.Equal(t, http.StatusOK, w.call("token "+good, "GET", "//api/kernels", "").status, "redirected")
	for _, scheme := range []string{"token", "Token", "Bearer", "bearer"} {
		assert.Equal(t, http.StatusOK, w.call(scheme+" "+good, "GET", "/api", "").status, scheme)
	}
}

// TestTokensInAURL: clients that cannot set headers put it there, and nothing
// that is written shows it.
func TestTokensInAURL(t *testing.T) {
	var logged lockedbuffer.Buffer
	w := newWorld(t)
	w.server.log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	good := w.tokens["nb-alice"]
	a := w.call("", "POST", "/api/kernels?token="+good, `{"name":"python-cpu"}`)
	require.Equal(t, http.StatusCreated, a.status)
	var m kernelModel
	a.json(t, &m)
	for _, path := range []string{"/api", "/api/kernels", "/api/kernels/" + m.ID, "/api/kernelspecs", "/api/kernelspecs?user=alice%2Fpython-cpu"} {
		separator := "?"
		if strings.Contains(path, "?") {
			separator = "&"
		}
		assert.Equal(t, http.StatusOK, w.call("", "GET", path+separator+"token="+good, "").status, path)
	}
	agent := w.agent(m.ID, 1)
	w.phase(m.ID, v1alpha1.KernelReady, 1, agent.ip)
	for _, query := range []string{"?session_id=s&token=" + good, "?token=" + good + "&session_id=s"} {
		conn, _, err := websocket.Dial(t.Context(), w.url+"/api/kernels/"+m.ID+"/channels"+query, nil)
		require.NoError(t, err)
		assert.Equal(t, "session=s", <-agent.connected, "without the token")
		require.NoError(t, conn.CloseNow())
	}
	_, resp, err := websocket.Dial(t.Context(), w.url+"/api/kernels/"+m.ID+"/channels?token="+w.tokens["nb-bob"], nil)
	require.Error(t, err)
	assert.Equal(t, http.StatusNotFound, resp.StatusCode)

	for _, path := range []string{"/nothing", "//api", "/api/kernels/" + someID, "/api/kernels/" + someID + "/channels"} {
		for _, token := range []string{good, "bad" + good} {
			noRedirect := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			resp, err := noRedirect.Get(w.url + path + "?token=" + token)
			require.NoError(t, err)
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			assert.NotContains(t, string(body)+fmt.Sprint(resp.Header), good)
		}
	}
	w.server.Close()
	assert.NotEmpty(t, logged.String())
	assert.NotContains(t, logged.String(), good)
	assert.NotContains(t, logged.String(), good[10:30])
}

// TestRefusalsDoNotFillTheLog: a client that comes again and again gets its
// answers, and a few lines.
func TestRefusalsDoNotFillTheLog(t *testing.T) {
	var logged lockedbuffer.Buffer
	now := time.Now()
	w := newWorld(t)
	w.server.log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.server.refusals.now = func() time.Time { return now }
	lines := func() int { return strings.Count(logged.String(), "refused") }
	for range 100 {
		require.Equal(t, http.StatusUnauthorized, w.call("token wrong", "GET", "/api/kernels", "").status)
		require.Equal(t, http.StatusNotFound, w.call("nb-alice", "GET", "/api/kernels/"+someID, "").status)
	}
	assert.Equal(t, 2*refusalsEach, lines(), "of each kind")
	now = now.Add(refusalsTime)
	require.Equal(t, http.StatusUnauthorized, w.call("", "GET", "/", "").status)
	assert.Equal(t, 2*refusalsEach+1, lines())
	assert.Contains(t, logged.String(), fmt.Sprintf("notLogged=%d", 100-refusalsEach))

	r := newRefusals(func() time.Time { return now })
	written := 0
	for i := range 10 * maxRefused { // one line from each of many
		if _, ok := r.write(fmt.Sprint(i)); ok {
			written++
		}
	}
	assert.Equal(t, maxRefused+refusalsEach, written)
	assert.Len(t, r.by, maxRefused+1)
	_, ok := r.write("0")
	assert.True(t, ok, "a client that is known is not hidden by others")
	now = now.Add(refusalsTime)
	r.write("new")
	assert.Len(t, r.by, 1)
}

func TestATokenEndsWithWhatItStandsFor(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.JupyterNotebook){
		"stopped":         func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Stopped = true },
		"started anew":    func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Start = "s2" },
		"another gateway": func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Gateway.Name = "other" },
		"no gateway":      func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Gateway = nil },
		"far gateway":     func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Gateway.Namespace = "far" },
		"another user":    func(nb *v1alpha1.JupyterNotebook) { nb.Spec.User = "carol" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.start("nb-alice", "python-gpu")
			nb := &v1alpha1.JupyterNotebook{}
			require.NoError(t, w.api.Get(context.Background(), types.NamespacedName{Namespace: testNS, Name: "nb-alice"}, nb))
			change(nb)
			require.NoError(t, w.api.Update(context.Background(), nb))
			for _, route := range allRoutes {
				want := http.StatusUnauthorized
				if name == "stopped" && route[0] == "DELETE" {
					want = http.StatusNotFound
				}
				assert.Equal(t, want, w.call("nb-alice", route[0], strings.ReplaceAll(route[1], someID, id), "{}").status, route)
			}
			assert.NotNil(t, w.kernel(id), "it is still there")
		})
	}
}

func TestClientTokensFollowTheirFiles(t *testing.T) {
	now := time.Now()
	w := newWorld(t)
	w.server.auth.clients.now = func() time.Time { return now }
	require.Equal(t, http.StatusOK, w.call("ci", "GET", "/api", "").status)

	require.NoError(t, os.WriteFile(filepath.Join(w.clients, "ci"), []byte("another-token-0123456789"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(w.clients, "stranger"), []byte("stranger-token-0123456789"), 0o600))
	now = now.Add(rereadAfter)
	assert.Equal(t, http.StatusUnauthorized, w.call("ci", "GET", "/api", "").status)
	assert.Equal(t, http.StatusOK, w.call("Bearer another-token-0123456789", "GET", "/api", "").status)
	assert.Equal(t, http.StatusUnauthorized, w.call("Bearer stranger-token-0123456789", "GET", "/api", "").status, "not in spec.auth.clients")

	require.NoError(t, os.Remove(filepath.Join(w.clients, "ci")))
	now = now.Add(rereadAfter)
	assert.Equal(t, http.StatusUnauthorized, w.call("Bearer another-token-0123456789", "GET", "/api", "").status)
}

func TestKernelspecsAreThoseOfTheIdentity(t *testing.T) {
	w := newWorld(t)
	for who, want := range map[string][]string{
		"nb-alice": {"python-cpu", "python-gpu"}, "nb-bob": {"python-cpu"}, "plain": {"python-cpu", "python-gpu"}, "ci": {"python-cpu", "python-gpu"},
	} {
		var l specList
		a := w.call(who, "GET", "/api/kernelspecs", "")
		require.Equal(t, http.StatusOK, a.status)
		a.json(t, &l)
		var names []string
		for name, m := range l.Kernelspecs {
			names = append(names, name)
			assert.Equal(t, name, m.Name)
			assert.NotNil(t, m.Resources, "resources is mandatory")
		}
		assert.ElementsMatch(t, want, names, who)
		assert.Equal(t, "python-cpu", l.Default, who)
		assert.NotContains(t, string(a.body), "hidden", "the environment stays here")
	}
	var m specModel
	w.call("nb-alice", "GET", "/api/kernelspecs/python-gpu", "").json(t, &m)
	assert.Equal(t, specModel{Name: "python-gpu", Resources: map[string]string{"logo-svg": "/kernelspecs/python-gpu/logo-svg.svg"}, Spec: specContent{
		Argv: []string{"python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"}, Env: map[string]string{},
		DisplayName: "Python (GPU)", Language: "python", InterruptMode: "message",
		Metadata: map[string]any{"debugger": true, "elastichub": map[string]any{"resources": map[string]any{"nvidia.com/gpu": "1"}}},
	}}, m)
	var quirk specModel
	w.call("nb-alice", "GET", "/api/kernelspecs?user=bob/python-gpu", "").json(t, &quirk)
	assert.Equal(t, m, quirk)
	for _, path := range []string{"/api/kernelspecs/python-gpu", "/api/kernelspecs/none", "/api/kernelspecs?user=alice/python-gpu", "/kernelspecs/python-cpu/logo-64x64.png"} {
		assert.Equal(t, http.StatusNotFound, w.call("nb-bob", "GET", path, "").status, path)
	}
}

// TestAPolicyThatIsGoneAllowsNothing, and whoever relied on it is told, in every
// answer that depends on it. Another one that exists goes on counting.
func TestAPolicyThatIsGoneAllowsNothing(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.api.Delete(context.Background(), &v1alpha1.GroupPolicy{ObjectMeta: w.meta("few")}))
	for _, request := range [][3]string{
		{"GET", "/api/kernelspecs"}, {"GET", "/api/kernelspecs?user=bob/python-cpu"}, {"POST", "/api/kernels", `{}`}, {"POST", "/api/kernels", `{"name":"python-cpu"}`},
	} {
		a := w.call("nb-bob", request[0], request[1], request[2])
		assert.Equal(t, http.StatusForbidden, a.status, request)
		assert.Contains(t, a.problem(t).Message, `the GroupPolicy "few" that your access names does not exist`, request)
	}
	assert.Equal(t, http.StatusOK, w.call("nb-bob", "GET", "/api/kernels", "").status)

	// A client whose policies have never been, of which one comes to be.
	gw := &v1alpha1.JupyterGateway{}
	key := client.ObjectKey{Namespace: testNS, Name: testGateway}
	require.NoError(t, w.api.Get(context.Background(), key, gw))
	gw.Spec.Auth.Clients[0].Policies = []string{"typo", "few"}
	require.NoError(t, w.api.Update(context.Background(), gw))
	assert.Contains(t, w.call("ci", "GET", "/api/kernelspecs", "").problem(t).Message, `the GroupPolicy "typo", "few" that`)
	few := &v1alpha1.GroupPolicy{ObjectMeta: w.meta("few")}
	few.Spec.Kernels.Allowed = []string{"python-cpu"}
	require.NoError(t, w.api.Create(context.Background(), few))
	var l specList
	w.call("ci", "GET", "/api/kernelspecs", "").json(t, &l)
	assert.Len(t, l.Kernelspecs, 1)
}

// TestKernelspecsSayWhatTheirLanguagesSay: argv, name of the language and
// interrupt_mode as the kernelspec of its own kernel has them.
func TestKernelspecsSayWhatTheirLanguagesSay(t *testing.T) {
	for language, want := range map[string]struct {
		argv0, language, interrupt string
	}{
		"": {"python3", "python", "message"}, "Python": {"python3", "python", "message"}, "r": {"R", "R", "signal"}, "R": {"R", "R", "signal"},
		"Julia": {"julia", "julia", "signal"}, "go": {"gonb", "go", "message"}, "bash": {"python3", "bash", "signal"}, "Brainfuck": {"", "Brainfuck", "signal"},
	} {
		ks := &v1alpha1.JupyterKernelSpec{ObjectMeta: metav1.ObjectMeta{Name: "k"}, Spec: v1alpha1.JupyterKernelSpecSpec{Language: language}}
		c := &catalogue{}
		spec := c.modelOf(ks).Spec
		assert.Equal(t, want.argv0, strings.Join(spec.Argv[:min(1, len(spec.Argv))], ""), language)
		assert.NotNil(t, spec.Argv, "a list, also where it is empty")
		assert.Equal(t, want.language, spec.Language, language)
		assert.Equal(t, want.interrupt, spec.InterruptMode, language)
		for mode, told := range map[v1alpha1.InterruptMode]string{"auto": want.interrupt, "message": "message", "signal": "signal"} {
			ks.Spec.InterruptMode = mode
			assert.Equal(t, told, c.modelOf(ks).Spec.InterruptMode, language)
		}
		ks.Spec.Command = []string{"own", "{connection_file}"}
		assert.Equal(t, ks.Spec.Command, c.modelOf(ks).Spec.Argv)
	}
}

var jupyterTimePattern = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`)

func TestStart(t *testing.T) {
	w := newWorld(t)
	body := map[string]any{"name": "python-gpu", "env": map[string]string{
		"KERNEL_USERNAME": "mallory", "KERNEL_LAUNCH_TIMEOUT": "58", "KERNEL_WORKING_DIR": "/home/jovyan/work", "KERNEL_A": "$(HOME) {{x}} `id`", "PATH": "/evil", "HOME": "/x",
		"JPY_SESSION_NAME": "/home/jovyan/5$.ipynb", "JPY_API_TOKEN": "secret", "JUPYTERHUB_USER": "mallory",
	}}
	raw, err := json.Marshal(body)
	require.NoError(t, err)
	a := w.call("nb-alice", "POST", "/api/kernels", string(raw))
	require.Equal(t, http.StatusCreated, a.status, string(a.body))
	var m kernelModel
	a.json(t, &m)
	assert.Equal(t, "python-gpu", m.Name)
	assert.Equal(t, "starting", m.ExecutionState)
	assert.Regexp(t, jupyterTimePattern, m.LastActivity)
	assert.Zero(t, m.Connections)
	assert.Equal(t, "/api/kernels/"+m.ID, a.header.Get("Location"))

	k := w.kernel(m.ID)
	assert.Equal(t, v1alpha1.JupyterKernelCRDSpec{
		Gateway: testGateway, KernelSpec: "python-gpu", Notebook: "nb-alice", User: "alice", Policies: []string{"all"},
		Env: []corev1.EnvVar{{Name: "JPY_SESSION_NAME", Value: "/home/jovyan/5$$.ipynb"}, {Name: "KERNEL_A", Value: "$$(HOME) {{x}} `id`"}}, WorkingDir: "/home/jovyan/work",
		Run: 1, IdleTimeoutSeconds: new(int64(60)),
	}, k.Spec)
	require.Len(t, k.OwnerReferences, 1)
	assert.Equal(t, "JupyterNotebook", k.OwnerReferences[0].Kind)
	assert.Equal(t, types.UID("nb-alice-uid"), k.OwnerReferences[0].UID)
	assert.Equal(t, map[string]string{v1alpha1.LabelManagedBy: "elastichub", v1alpha1.LabelGateway: testGateway, v1alpha1.LabelNotebook: "nb-alice"}, k.Labels)

	ci := w.kernel(w.start("ci", "python-cpu"))
	assert.Equal(t, "ci", ci.Spec.User)
	assert.Empty(t, ci.Spec.Notebook)
	assert.Equal(t, "JupyterGateway", ci.OwnerReferences[0].Kind)
	plain := w.kernel(w.start("plain", ""))
	assert.Equal(t, "python-cpu", plain.Spec.KernelSpec)
	assert.Empty(t, plain.Spec.User)
	assert.Equal(t, "plain", plain.Spec.Notebook)
}

func TestBadStartsMakeNothing(t *testing.T) {
	w := newWorld(t)
	env := func(name, value string) string {
		raw, err := json.Marshal(map[string]any{"name": "python-cpu", "env": map[string]string{name: value}})
		require.NoError(t, err)
		return string(raw)
	}
	many := map[string]string{}
	for i := range maxEnvCount + 1 {
		many[fmt.Sprintf("KERNEL_%d", i)] = "x"
	}
	manyRaw, err := json.Marshal(map[string]any{"env": many})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"truncated":           {`{"name":"python-cpu"`, 400},
		"not JSON":            {"name=python-cpu", 400},
		"an array":            {`["python-cpu"]`, 400},
		"not UTF-8":           {"{\"name\":\"\xff\xfe\"}", 404},
		"deeply nested":       {`{"name":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, 400},
		"oversized":           {`{"name":"` + strings.Repeat("a", maxBody) + `"}`, 413},
		"trailing":            {`{"name":"python-cpu"}{}`, 400},
		"name of wrong type":  {`{"name":7}`, 400},
		"env of wrong type":   {`{"env":["KERNEL_A=1"]}`, 400},
		"env value a number":  {`{"env":{"KERNEL_A":1}}`, 400},
		"unknown kernelspec":  {`{"name":"no-such"}`, 404},
		"no object name":      {`{"name":"../../secrets"}`, 404},
		"offered, not there":  {`{"name":"missing"}`, 403},
		"not allowed":         {`{"name":"python-gpu"}`, 403},
		"newline":             {env("KERNEL_A", "a\nb"), 400},
		"carriage return":     {env("KERNEL_A", "a\rb"), 400},
		"NUL":                 {env("KERNEL_A", "a\x00b"), 400},
		"too long":            {env("KERNEL_A", strings.Repeat("a", maxEnvValue+1)), 400},
		"name with equals":    {env("KERNEL_A=B", "x"), 400},
		"name with space":     {env("KERNEL_A B", "x"), 400},
		"name with newline":   {env("KERNEL_A\nB", "x"), 400},
		"too many":            {string(manyRaw), 400},
		"relative directory":  {env("KERNEL_WORKING_DIR", "work"), 400},
		"unclean directory":   {env("KERNEL_WORKING_DIR", "/home/../etc"), 400},
		"directory, slash":    {env("KERNEL_WORKING_DIR", "/home/"), 400},
		"directory, NUL":      {env("KERNEL_WORKING_DIR", "/home\x00"), 400},
		"empty directory":     {env("KERNEL_WORKING_DIR", ""), 400},
		"id is no UUID":       {env("KERNEL_ID", "my-kernel"), 400},
		"id in capitals":      {env("KERNEL_ID", "AAAAAAAA-1111-4111-8111-111111111111"), 400},
		"id as URN":           {env("KERNEL_ID", "urn:uuid:"+someID), 400},
		"id with path to etc": {env("KERNEL_ID", "../"+someID), 400},
	} {
		a := w.call("nb-bob", "POST", "/api/kernels", c.body)
		assert.Equal(t, c.status, a.status, "%s: %s", name, a.body)
		p := a.problem(t)
		assert.NotEmpty(t, p.Reason, name)
		assert.NotEmpty(t, p.Message, name)
	}
	a := w.call("nb-bob", "POST", "/api/kernels", `{"name":"python-gpu"}`)
	assert.Equal(t, problem{Reason: "Forbidden", Message: `The kernel "python-gpu" is not allowed for you; you may start python-cpu.`}, a.problem(t))
	var list v1alpha1.JupyterKernelList
	require.NoError(t, w.api.List(context.Background(), &list))
	assert.Empty(t, list.Items)
}

// TestAStartThatNobodyWaitsForIsTakenBack: such a client never learns the id.
func TestAStartThatNobodyWaitsForIsTakenBack(t *testing.T) {
	w := newWorld(t)
	ctx, leave := context.WithCancel(t.Context())
	events, err := w.api.Watch(t.Context(), &v1alpha1.JupyterKernelList{})
	require.NoError(t, err)
	defer events.Stop()
	w.writing = func() {
		leave()
		<-w.latest.Load().Context().Done() // the server has noticed
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/api/kernels", strings.NewReader(`{"name":"python-cpu"}`))
	require.NoError(t, err)
	req.Header.Set("Authorization", "token "+w.tokens["nb-alice"])
	_, err = http.DefaultClient.Do(req)
	require.ErrorIs(t, err, context.Canceled)
	for _, want := range []string{"ADDED", "DELETED"} {
		select {
		case e := <-events.ResultChan():
			assert.Equal(t, want, string(e.Type))
		case <-time.After(patience):
			require.Fail(t, "nothing was "+want)
		}
	}
}

func TestClientChosenID(t *testing.T) {
	w := newWorld(t)
	body := fmt.Sprintf(`{"name":"python-cpu","env":{"KERNEL_ID":%q}}`, someID)
	a := w.call("nb-bob", "POST", "/api/kernels", body)
	require.Equal(t, http.StatusCreated, a.status)
	var m kernelModel
	a.json(t, &m)
	assert.Equal(t, someID, m.ID)
	assert.Equal(t, http.StatusConflict, w.call("nb-bob", "POST", "/api/kernels", body).status)
	assert.Equal(t, http.StatusConflict, w.call("nb-alice", "POST", "/api/kernels", body).status)
}

func TestSomeoneElsesKernelIsNotThere(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-bob", "python-cpu")
	plain := w.start("plain", "python-cpu")
	for _, who := range []string{"nb-alice", "plain", "ci"} {
		for _, route := range [][2]string{{"GET", ""}, {"DELETE", ""}, {"POST", "/restart"}, {"POST", "/interrupt"}, {"GET", "/channels"}} {
			theirs := w.call(who, route[0], "/api/kernels/"+id+route[1], "{}")
			absent := w.call(who, route[0], "/api/kernels/"+someID+route[1], "{}")
			assert.Equal(t, http.StatusNotFound, theirs.status, "%s %s", who, route)
			assert.Equal(t, absent.body, theirs.body, "nothing tells hidden from absent")
		}
	}
	assert.Equal(t, http.StatusNotFound, w.call("nb-alice", "GET", "/api/kernels/"+plain, "").status)
	for who, want := range map[string]int{"nb-bob": 1, "nb-alice": 0, "plain": 1} {
		var l []kernelModel
		w.call(who, "GET", "/api/kernels", "").json(t, &l)
		assert.Len(t, l, want, who)
	}
	assert.Equal(t, "[]", string(w.call("nb-alice", "GET", "/api/kernels", "").body))
	for _, bad := range []string{"x", "..%2F..%2Fetc", strings.ToUpper("aaaaaaaa-1111-4111-8111-111111111111"), strings.Repeat("a", 3000), "%00", "%ff"} {
		assert.Equal(t, http.StatusNotFound, w.call("nb-bob", "GET", "/api/kernels/"+bad, "").status, bad)
	}
	assert.Equal(t, http.StatusOK, w.call("nb-bob", "GET", "/api/kernels/"+id, "").status)
}

func TestModelFollowsThePhase(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-bob", "python-cpu")
	agent := w.agent(id, 1)
	for _, c := range []struct {
		phase v1alpha1.KernelPhase
		want  string
	}{
		{v1alpha1.KernelQueued, "starting"}, {v1alpha1.KernelStarting, "starting"}, {v1alpha1.KernelReady, "busy"},
		{v1alpha1.KernelParked, "idle"}, {v1alpha1.KernelDead, "dead"},
	} {
		w.phase(id, c.phase, 1, agent.ip)
		var m kernelModel
		w.call("nb-bob", "GET", "/api/kernels/"+id, "").json(t, &m)
		assert.Equal(t, c.want, m.ExecutionState, c.phase)
		assert.Regexp(t, jupyterTimePattern, m.LastActivity)
	}
}

func TestStateIsAskedOfTheAgentAndAMissingOneIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	busy := w.start("nb-bob", "python-cpu")
	mute := w.start("nb-bob", "python-cpu")
	agent := w.agent(busy, 1)
	at := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	agent.state.Store(protocol.State{ExecutionState: wire.StateBusy, LastActivity: protocol.Instant{Time: at}, Connections: 3})
	w.phase(busy, v1alpha1.KernelReady, 1, agent.ip)
	w.phase(mute, v1alpha1.KernelReady, 1, "127.77.200.200")
	var l []kernelModel
	began := time.Now()
	w.call("nb-bob", "GET", "/api/kernels", "").json(t, &l)
	assert.Less(t, time.Since(began), 2*time.Second)
	require.Len(t, l, 2)
	for _, m := range l {
		if m.ID == busy {
			assert.Equal(t, kernelModel{ID: busy, Name: "python-cpu", LastActivity: protocol.Instant{Time: at}.Format(jupyterTime), ExecutionState: "busy", Connections: 3, Own: true}, m)
		} else {
			assert.Equal(t, "idle", m.ExecutionState)
		}
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-bob", "python-cpu")
	a := w.call("nb-bob", "DELETE", "/api/kernels/"+id, "")
	assert.Equal(t, http.StatusNoContent, a.status)
	assert.Empty(t, a.body)
	assert.Equal(t, http.StatusNotFound, w.call("nb-bob", "DELETE", "/api/kernels/"+id, "").status)
}

func TestRestartAndInterrupt(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-bob", "python-cpu")
	agent := w.agent(id, 1)
	post := func(what string) int { return w.call("nb-bob", "POST", "/api/kernels/"+id+"/"+what, "{}").status }

	assert.Equal(t, http.StatusNoContent, post("interrupt"))
	assert.NotEmpty(t, w.kernel(id).Annotations[v1alpha1.AnnotationInterrupted])
	assert.Equal(t, http.StatusOK, post("restart"), "not running yet: fresh anyway")
	assert.EqualValues(t, 1, w.kernel(id).Spec.Run)

	for i, row := range []struct {
		phase v1alpha1.KernelPhase
		state wire.State
		done  bool
	}{
		{v1alpha1.KernelStarting, wire.StateStarting, false},
		{v1alpha1.KernelStarting, wire.StateBusy, true}, // the object is behind
		{v1alpha1.KernelReady, wire.StateIdle, true},
	} {
		agent.state.Store(protocol.State{ExecutionState: row.state})
		agent.interrupts.Store(0)
		agent.restarts.Store(0)
		w.phase(id, row.phase, 1, agent.ip)
		assert.Equal(t, http.StatusNoContent, post("interrupt"))
		assert.Equal(t, row.done, agent.interrupts.Load() == 1, "%d", i)
		assert.Equal(t, http.StatusOK, post("restart"))
		assert.Equal(t, row.done, agent.restarts.Load() == 1, "%d", i)
		assert.EqualValues(t, 1, w.kernel(id).Spec.Run)
	}

	w.phase(id, v1alpha1.KernelParked, 1, "")
	assert.Equal(t, http.StatusOK, post("restart"))
	assert.EqualValues(t, 2, w.kernel(id).Spec.Run)
	assert.Equal(t, http.StatusOK, post("restart"), "again before the controllers have seen it")
	assert.EqualValues(t, 2, w.kernel(id).Spec.Run)
	w.phase(id, v1alpha1.KernelDead, 2, "")
	assert.Equal(t, http.StatusOK, post("restart"))
	assert.EqualValues(t, 3, w.kernel(id).Spec.Run)

	w.phase(id, v1alpha1.KernelReady, 3, "127.77.200.201")
	assert.Equal(t, http.StatusServiceUnavailable, post("restart"))
	assert.Equal(t, http.StatusServiceUnavailable, post("interrupt"))
}

func TestAnAgentWithAnotherKeyIsRefused(t *testing.T) {
	w := newWorld(t)
	id, other := w.start("nb-bob", "python-cpu"), w.start("nb-bob", "python-cpu")
	impostor := w.agent(other, 1)
	w.phase(id, v1alpha1.KernelReady, 1, impostor.ip)
	a := w.call("nb-bob", "POST", "/api/kernels/"+id+"/restart", "{}")
	assert.Equal(t, http.StatusServiceUnavailable, a.status)
	assert.Zero(t, impostor.restarts.Load())
	assert.NotContains(t, string(a.body), impostor.ip)
}

func TestAColdCacheListsNothingPartial(t *testing.T) {
	w := newWorld(t)
	w.synced.Store(false)
	for _, path := range []string{"/api/kernels", "/api/kernelspecs", "/api/kernels/" + someID} {
		a := w.call("nb-bob", "GET", path, "")
		assert.Equal(t, http.StatusServiceUnavailable, a.status, path)
		assert.Equal(t, "1", a.header.Get("Retry-After"))
	}
}

func TestKernelsPerUser(t *testing.T) {
	w := newWorldWith(t, func(c *Config) { c.bounds.kernelsPerUser = 2 })
	w.start("nb-bob", "python-cpu")
	id := w.start("nb-bob", "python-cpu")
	a := w.call("nb-bob", "POST", "/api/kernels", "{}")
	assert.Equal(t, http.StatusForbidden, a.status)
	assert.Contains(t, a.problem(t).Message, "too many kernels")
	w.start("nb-alice", "python-cpu")
	require.Equal(t, http.StatusNoContent, w.call("nb-bob", "DELETE", "/api/kernels/"+id, "").status)
	w.start("nb-bob", "python-cpu")
}

func TestAnAPIServerThatIsDownIsNotQuoted(t *testing.T) {
	w := newWorld(t)
	w.failing.Store(true)
	a := w.call("nb-bob", "POST", "/api/kernels", "{}")
	assert.Equal(t, http.StatusServiceUnavailable, a.status)
	assert.NotContains(t, string(a.body), "10.0.0.1")
}

func TestUnknownErrorsAreNotQuoted(t *testing.T) {
	w := newWorld(t)
	h := w.server.adapt("test", func(http.ResponseWriter, *call) error { return fmt.Errorf("open /etc/secret: permission denied") })
	rec := newRecorder()
	req, err := http.NewRequest("GET", "/", http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Authorization", "token "+ciToken)
	h.ServeHTTP(rec, req)
	assert.Equal(t, http.StatusInternalServerError, rec.Code)
	assert.NotContains(t, rec.Body.String(), "secret")
	var p problem
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
	assert.Equal(t, rec.Header().Get("X-Request-Id"), p.RequestID)
	assert.NotEmpty(t, p.RequestID)
}

// TestEveryKindHasAStatus reads the source, so that a new kind cannot be forgotten.
func TestEveryKindHasAStatus(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	require.NoError(t, err)
	declared := 0
	for _, declaration := range file.Decls {
		constants, ok := declaration.(*ast.GenDecl)
		if !ok || constants.Tok != token.CONST {
			continue
		}
		for _, spec := range constants.Specs {
			constant := spec.(*ast.ValueSpec)
			if of, ok := constant.Type.(*ast.Ident); !ok || of.Name != "kind" {
				continue
			}
			for _, value := range constant.Values {
				text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
				require.NoError(t, err)
				declared++
				assert.GreaterOrEqual(t, statusOf[kind(text)], 400, text)
			}
		}
	}
	assert.NotZero(t, declared)
	assert.Len(t, statusOf, declared, "a status of no kind")
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	raw := strings.Repeat("k", keys.Size)
	for name, c := range map[string]struct {
		content string
		want    []byte
	}{
		"raw":       {raw, []byte(raw)},
		"hex":       {strings.Repeat("6b", keys.Size) + "\n", []byte(raw)},
		"short":     {raw[1:], nil},
		"short hex": {strings.Repeat("6b", keys.Size-1), nil},
		"empty":     {"", nil},
		"text":      {strings.Repeat("zz", keys.Size), nil},
	} {
		path := filepath.Join(dir, "key")
		require.NoError(t, os.WriteFile(path, []byte(c.content), 0o600))
		got, err := loadKeys(path, time.Now())
		assert.Equal(t, c.want == nil, err != nil, name)
		if c.want != nil {
			assert.Equal(t, keys.GatewayKeys{c.want}, got.counting, name)
		}
	}
	_, err := loadKeys(filepath.Join(dir, "none"), time.Now())
	assert.Error(t, err)
}

func TestConfigReportsEveryFault(t *testing.T) {
	err := Config{}.Validate()
	require.Error(t, err)
	for _, field := range []string{"namespace", "name", "listen", "health", "keyFile", "tokenKeyFile", "messageBytes"} {
		assert.Contains(t, err.Error(), field+":")
	}
	good := Default()
	good.Namespace, good.Name, good.KeyFile, good.TokenKeyFile = "a", "b", "c", "d"
	assert.NoError(t, good.Validate())
}

func TestAWakeFromAnOldStateChangesNothing(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-bob", "python-cpu")
	w.phase(id, v1alpha1.KernelParked, 1, "")
	old := w.kernel(id)
	k := w.kernel(id)
	k.Spec.Run = 3
	require.NoError(t, w.api.Update(context.Background(), k))
	err := w.server.store.wake(context.Background(), old)
	assert.Equal(t, kindConflict, explain(err).kind)
	assert.EqualValues(t, 3, w.kernel(id).Spec.Run)
}

// TestAnObjectThatCannotBeReadIsNoBadToken: whoever depends on it hears that an
// administrator has to mend it, and nobody else is concerned; jupyter_server would
// take a 401 or 404 for the end of its kernels.
func TestAnObjectThatCannotBeReadIsNoBadToken(t *testing.T) {
	for _, c := range []struct {
		kind, name, spec string
		hit, spared      []string
		says             string
	}{
		{"JupyterNotebook", "nb-alice", `{"gateway": {"name": "gw"}, "user": "alice", "start": "s1", "kernelOptions": {"policies": "all"}}`,
			[]string{"nb-alice"}, []string{"nb-bob", "ci"}, "The notebook's object cannot be read: an administrator has to mend it."},
		{"JupyterNotebook", "nb-alice", `["all"]`,
			[]string{"nb-alice"}, []string{"nb-bob", "ci"}, "The notebook's object cannot be read: an administrator has to mend it."},
		{"JupyterGateway", testGateway, `{"auth": {"clients": {"ci": ["all"]}}}`,
			[]string{"ci"}, nil, "The gateway's settings cannot be read: an administrator has to mend them."},
	} {
		w := newWorld(t)
		id := w.start(c.hit[0], "python-cpu")
		broken := &unstructured.Unstructured{}
		broken.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(c.kind))
		require.NoError(t, w.api.Get(t.Context(), types.NamespacedName{Namespace: testNS, Name: c.name}, broken))
		var spec any
		require.NoError(t, json.Unmarshal([]byte(c.spec), &spec))
		broken.Object["spec"] = spec
		require.NoError(t, w.api.Update(t.Context(), broken))
		for _, who := range c.hit {
			for _, request := range [][2]string{{"GET", "/api/kernels/" + id}, {"GET", "/api/kernels"}, {"POST", "/api/kernels"}, {"DELETE", "/api/kernels/" + id}, {"GET", "/api/kernels/" + id + "/channels"}} {
				a := w.call(who, request[0], request[1], "")
				var p problem
				a.json(t, &p)
				assert.Equal(t, http.StatusServiceUnavailable, a.status, request)
				assert.Equal(t, problem{Reason: "Unavailable", Message: c.says}, p)
			}
		}
		for _, who := range c.spared {
			assert.Equal(t, http.StatusOK, w.call(who, "GET", "/api/kernels", "").status, who)
		}
		assert.NoError(t, w.api.Get(t.Context(), types.NamespacedName{Namespace: testNS, Name: id}, &v1alpha1.JupyterKernel{}), "the kernel is left alone")
	}
}

// TestADeletedKernelIsHiddenAtOnce: the leader ends it, or takes it back.
func TestADeletedKernelIsHiddenAtOnce(t *testing.T) {
	w := newWorld(t)
	w.idleLeader.Store(true)
	s := w.session("nb-alice", "POST", "/api/sessions", `{"path":"a","kernel":{"name":"python-cpu"}}`, 201)
	id := s.Kernel.ID
	w.phase(id, v1alpha1.KernelParked, 1, "")
	page := w.open("nb-alice", id, "page")
	page.send(wire.Shell, wire.TypeKernelInfoRequest, map[string]any{})
	page.next(wire.TypeKernelInfoReply)
	began := time.Now()
	require.Equal(t, http.StatusNoContent, w.call("nb-alice", "DELETE", "/api/kernels/"+id, "").status)
	asked := w.kernel(id).Spec.Shutdown
	require.NotNil(t, asked)
	assert.Equal(t, v1alpha1.ShutdownByNotebook, asked.By)
	assert.WithinDuration(t, began, asked.At.Time, 2*time.Second)
	assert.Equal(t, "[]", string(w.call("nb-alice", "GET", "/api/kernels", "").body))
	assert.Empty(t, w.sessionsOf("nb-alice"))
	for _, route := range [][2]string{{"GET", ""}, {"DELETE", ""}, {"POST", "/restart"}, {"POST", "/interrupt"}, {"GET", "/channels"}} {
		assert.Equal(t, http.StatusNotFound, w.call("nb-alice", route[0], "/api/kernels/"+id+route[1], "").status, route)
	}
	assert.Equal(t, http.StatusConflict, w.call("nb-alice", "POST", "/api/kernels", `{"name":"python-cpu","env":{"KERNEL_ID":"`+id+`"}}`).status)
	for page.next(wire.TypeStatus).ExecutionState() != "dead" {
	}

	k := w.kernel(id)
	k.Spec.Shutdown = nil
	require.NoError(t, w.api.Update(t.Context(), k))
	assert.Equal(t, id, w.session("nb-alice", "GET", "/api/sessions/"+s.ID, "", 200).Kernel.ID, "taken back")

	// A client is nothing that is replaced.
	id = w.start("ci", "python-cpu")
	require.Equal(t, http.StatusNoContent, w.call("ci", "DELETE", "/api/kernels/"+id, "").status)
	assert.True(t, apierrors.IsNotFound(w.api.Get(t.Context(), client.ObjectKey{Namespace: testNS, Name: id}, &v1alpha1.JupyterKernel{})))
}
