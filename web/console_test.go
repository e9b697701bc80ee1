package web

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal/holdings"
	"github.com/elastichub/elastichub/portal/policyedit"
	"github.com/elastichub/elastichub/prepull/imagestate"
	"github.com/elastichub/elastichub/usage"
)

var consoleNow = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

func sampleConsole(language string, admin bool) Console {
	return Console{
		Base: "/services/elastichub/", Hub: "/hub/", User: "researcher", Admin: admin, CSRF: "csrf-token", Now: consoleNow, Msg: ForLanguages(language),
	}
}

func ago(d time.Duration) *time.Time { t := consoleNow.Add(-d); return &t }

func sampleServers() []holdings.Server {
	return []holdings.Server{
		{Name: "jupyter-researcher", User: "researcher", Phase: v1alpha1.NotebookReady, Policy: "ml-research", Node: "node-1", Image: "registry.example.org/lab:4", CPU: 2, Memory: 4 << 30,
			Created: *ago(30 * 24 * time.Hour), StartedAt: ago(3 * time.Hour), LastActivity: ago(25 * time.Minute), StopAt: ago(-35 * time.Minute), StopCause: v1alpha1.StopIdle,
			Busy: []holdings.Busy{{Kind: v1alpha1.BusyTerminal, Name: "1 (make <all>)", Since: ago(40 * time.Minute)}, {Kind: v1alpha1.BusyKernel, Name: "0b7c", Title: "Python 3 (GPU)"},
				{Kind: "download"}, {Kind: v1alpha1.BusyProcess, Name: "rsync"}, {Kind: v1alpha1.BusyProcess, Name: "ssh"}}},
		{Name: "jupyter-researcher--thesis", User: "researcher", Server: "thesis", Phase: v1alpha1.NotebookStopped, CPU: 0.5, Memory: 512 << 20, Created: *ago(90 * 24 * time.Hour),
			Stopped: true, Message: "The server was stopped: nobody used it for 1 hour. Files are kept."},
		{Name: "jupyter-researcher--lost", User: "researcher", Server: "lost", Phase: v1alpha1.NotebookReady, CPU: 1, Memory: 1 << 30, Created: *ago(90 * 24 * time.Hour),
			Orphan: &holdings.Orphan{Reason: "HubServerStopped", Message: "The server runs, and the Hub says that it is <stopped>.", Since: *ago(time.Hour)}},
		{Name: "jupyter-researcher--long", User: "researcher", Server: "a-server-with-quite-a-long-name-that-has-to-break-somewhere", Phase: v1alpha1.NotebookStarting, CPU: 1, Memory: 1 << 30, Created: *ago(time.Minute)},
	}
}

func sampleKernels() []holdings.Kernel {
	gpu := map[string]int64{"nvidia.com/gpu": 1}
	return []holdings.Kernel{
		{ID: "0b7c1a52-6d1e-4f0e-9a3a-3d1f6f2f7a01", User: "researcher", Notebook: "jupyter-researcher", KernelSpec: "python-gpu", Title: "Python 3 (GPU)", Document: "experiments/train.ipynb",
			Phase: v1alpha1.KernelReady, Policy: "ml-research", Node: "node-1", Devices: gpu, Holds: true, CPU: 1, Memory: 2 << 30, Created: *ago(2 * time.Hour), Since: ago(2 * time.Hour)},
		{ID: "1c7c1a52-6d1e-4f0e-9a3a-3d1f6f2f7a02", User: "researcher", Notebook: "jupyter-researcher", KernelSpec: "python-gpu", Title: "Python 3 (GPU)", Document: "evaluate.ipynb",
			Phase: v1alpha1.KernelReady, Policy: "ml-research", Node: "node-2", Devices: gpu, Holds: true, CPU: 1, Memory: 2 << 30, Created: *ago(5 * time.Hour), Since: ago(5 * time.Hour), IdleSince: ago(12 * time.Minute), ParkAt: ago(-48 * time.Minute)},
		{ID: "2d7c1a52-6d1e-4f0e-9a3a-3d1f6f2f7a03", User: "researcher", Notebook: "jupyter-researcher", KernelSpec: "python-gpu", Title: "Python 3 (GPU)", Document: "plots.ipynb",
			Phase: v1alpha1.KernelQueued, Policy: "ml-research", Devices: gpu, Created: *ago(4 * time.Minute), Since: ago(4 * time.Minute), Queue: &holdings.Place{Position: 1, Length: 2, Reason: "All 2 nvidia.com/gpu of the cluster are in use."}},
		{ID: "3e7c1a52-6d1e-4f0e-9a3a-3d1f6f2f7a04", User: "analyst", Notebook: "jupyter-analyst", KernelSpec: "python-cpu", Title: "Python 3 (CPU)", Document: "report.ipynb",
			Phase: v1alpha1.KernelParked, Cause: v1alpha1.CauseIdle, Message: "The kernel was parked by admin: The node is needed", Kept: &holdings.Kept{Variables: 7, Bytes: 9 << 20, Lost: []string{"connection"}}, Returns: []holdings.Choice{{Name: "python-cpu", Title: "Python <CPU>"}, {Name: "python-gpu", Title: "Python (GPU)", Devices: map[string]int64{"nvidia.com/gpu": 1}}}, Created: *ago(50 * time.Hour), Since: ago(26 * time.Hour)},
		{ID: "4f7c1a52-6d1e-4f0e-9a3a-3d1f6f2f7a05", User: "analyst", Notebook: "jupyter-analyst", KernelSpec: "python-cpu", Title: "Python 3 (CPU)",
			Phase: v1alpha1.KernelDead, Cause: v1alpha1.CauseOutOfMemory, Message: "The kernel needed more memory than its limit, 1 GiB.", Created: *ago(time.Hour), Since: ago(20 * time.Minute), Ending: true},
		{ID: "507c1a52-6d1e-4f0e-9a3a-3d1f6f2f7a06", User: "analyst", Notebook: "jupyter-analyst", KernelSpec: "python-gpu", Title: "Python 3 (GPU)", Phase: v1alpha1.KernelQueued, Devices: gpu, Created: *ago(time.Minute), Since: ago(time.Minute),
			Queue: &holdings.Place{Position: 2, Length: 2, Reason: "All 2 nvidia.com/gpu of the cluster are in use."}, Moved: &holdings.Moved{To: holdings.MovedLast, By: "chief", Reason: "<i>Maintenance</i>"}},
	}
}

func sampleOverview() holdings.Overview {
	total, free := int64(4), int64(2)
	gpu := map[string]int64{"nvidia.com/gpu": 2}
	return holdings.Overview{
		Devices: []holdings.Device{{Resource: "nvidia.com/gpu", Total: &total, Free: &free, Held: 2, Busy: 1, Idle: 1, Waiting: 2}},
		Servers: 2, Kernels: 2, Parked: 1, Waiting: 2,
		Policies: []holdings.Sum{{Name: "", Servers: 1, CPU: 0.25, Memory: 1 << 30}, {Name: "ml-research", Servers: 1, Kernels: 2, CPU: 2.6666, Memory: 8 << 30, Devices: gpu}},
		Nodes:    []holdings.Sum{{Name: "node-1", Servers: 2, Kernels: 1, CPU: 1.9, Memory: 5 << 30, Devices: map[string]int64{"nvidia.com/gpu": 1}}, {Name: "node-2", Kernels: 1, CPU: 1, Memory: 2 << 30, Devices: map[string]int64{"nvidia.com/gpu": 1}}},
	}
}

func sampleImages() Images {
	return Images{Wanted: true, Known: true, All: []imagestate.Image{
		{Image: "registry.example.org/elastichub:1", UsedBy: []imagestate.Use{{Service: true}}, Nodes: imagestate.Nodes{Total: 4, Present: 4}, Bytes: 120 << 20},
		{Image: "registry.example.org/lab:4", UsedBy: []imagestate.Use{{Policy: "analysts", Channel: "stable"}, {Policy: "ml-research", Channel: "stable"}}, Nodes: imagestate.Nodes{Total: 4, Present: 1, Pulling: 1, Waiting: 2}, Bytes: 3 << 30},
		{Image: "registry.example.org/torch:2", UsedBy: []imagestate.Use{{KernelSpec: "python-gpu"}}, Nodes: imagestate.Nodes{Total: 2, Failing: 2},
			Why: []string{"2 nodes, node-1 among them: It cannot be pulled (ImagePullBackOff): manifest <unknown>."}},
		{Image: "registry.example.org/tpu:1", UsedBy: []imagestate.Use{{KernelSpec: "python-tpu"}}, Why: []string{"For the kernelspec python-tpu: no node has google.com/tpu."}},
	}}
}

func samplePolicies() []holdings.Policy {
	pool := int32(4)
	return []holdings.Policy{
		{Name: "ml-research", DisplayName: "Machine learning research", Groups: []string{"ml-research", "cn=guests,ou=groups,dc=example,dc=org"}, Priority: 20, CPU: 4, Memory: 6 << 30, ServersPerUser: 3, Servers: 2, Kernels: 2, Waiting: 1, Users: 1,
			GPUs: &holdings.PolicyGPUs{Resource: "nvidia.com/gpu", Held: 2, PerKernel: 1, PerUser: 2, Pool: &pool}},
		{Name: "analysts", DisplayName: "analysts", Groups: []string{"analysts"}, Default: true, Priority: 10, CPU: 1, Memory: 2 << 30, ServersPerUser: 1, Fault: "spec.cpu.min: must be at most max"},
	}
}

func sampleEvents() Events {
	return Events{Known: true, All: []holdings.Event{
		{Time: *ago(3 * time.Minute), Reason: "ReleaseRequested", Message: "Asked for by admin: The node is needed", Count: 1},
		{Time: *ago(40 * time.Minute), Reason: "Unhealthy", Message: "Readiness probe failed: Get \"https://10.0.0.9:8443/readyz\": dial tcp 10.0.0.9:8443: connect: connection refused", Warning: true, Count: 4},
		{Time: *ago(41 * time.Minute), Reason: "Scheduled", Message: "Successfully assigned jupyterhub/1c7c1a52-6d1e-4f0e-9a3a-3d1f6f2f7a02-1 to node-2", Count: 1},
	}}
}

func sampleLogs() []holdings.Log {
	return []holdings.Log{
		{Container: "kernel", Cut: true, Lines: []string{"epoch 1: loss 0.7", "</pre><script>alert(1)</script>", "", "\tepoch 2: a line that is quite long, so long that no telephone shows the whole of it at one time, whichever way it is held"}},
		{Container: "agent", Missing: holdings.LogWaiting},
	}
}

// sampleHours are of a week, by what is asked for.
func sampleHours(by usage.By) Hours {
	line := func(name string, runs int64, held, busy, saved float64) usage.Line {
		return usage.Line{Name: name, Runs: runs, Resources: map[string]usage.Hours{
			"nvidia.com/gpu": {Held: held, Busy: busy, Saved: saved}, usage.CPU: {Held: 2 * held, Busy: 2 * busy}, usage.Memory: {Held: 4 * held, Busy: 4 * busy},
		}}
	}
	h := Hours{Period: usage.Period{Days: 7}, By: by, Prices: usage.Prices{"nvidia.com/gpu": 2.5}, Currency: "EUR", Dates: []usage.Line{
		line("2025-12-27", 0, 0, 0, 0), line("2025-12-28", 2, 3.5, 1, 6), line("2025-12-29", 11, 40.25, 31, 55), line("2025-12-30", 9, 38, 30.5, 60.125),
		line("2025-12-31", 5, 12, 9, 20), line("2026-01-01", 0, 0, 0, 0), line("2026-01-02", 7, 22.2, 14.4, 30),
	}}
	switch by {
	case usage.ByGroup:
		h.Lines = []usage.Line{line("", 1, 0.2, 0.1, 0), line("ml-research", 33, 115.75, 85.8, 171.125)}
	case usage.ByUser:
		client := line("batch", 3, 1, 1, 0)
		client.Client, client.Estimated = true, 2
		h.Lines = []usage.Line{client, line("<b>mallory</b>", 1, 0.5, 0, 0), line("researcher", 30, 114.25, 85, 171.125)}
		h.Dates[6].Estimated = 2
	case usage.ByDate:
		h.Lines = h.Dates
	case usage.ByKernelSpec:
		h.Lines = []usage.Line{line("python-gpu", 34, 115.95, 85.9, 171.125)}
	}
	return h
}

func ownHours() Hours {
	h := sampleHours(usage.ByKernelSpec)
	h.Own, h.Resource, h.Prices = true, usage.CPU, nil
	return h
}

// samples are all pages of the console, as they are kept in testdata.
func samples() map[string]templ.Component {
	user, admin := sampleConsole("", false), sampleConsole("", true)
	mine := sampleKernels()[:4]
	partial := user
	partial.AdminUnknown, partial.Done = true, DoneRelease
	query := holdings.Query{Search: "python", Sort: "idle", Descending: true, Limit: 4}
	return map[string]templ.Component{
		"mine":           Mine(user, sampleServers(), mine, sampleBudgets(true)),
		"mine-ru":        Mine(sampleConsole("ru", false), sampleServers(), mine, sampleBudgets(true)),
		"mine-zh":        Mine(sampleConsole("zh-CN", false), sampleServers(), mine, sampleBudgets(true)),
		"mine-empty":     Mine(partial, nil, nil, nil),
		"cluster":        Cluster(admin, sampleOverview(), []holdings.Kernel{sampleKernels()[2], sampleKernels()[5]}, sampleImages()),
		"cluster-ru":     Cluster(sampleConsole("ru", true), sampleOverview(), []holdings.Kernel{sampleKernels()[2], sampleKernels()[5]}, sampleImages()),
		"cluster-none":   Cluster(admin, holdings.Overview{}, nil, Images{Wanted: true}),
		"kernels":        Kernels(admin, query, holdings.Page[holdings.Kernel]{Items: sampleKernels(), Total: 9, Next: "bmV4dA"}),
		"kernels-none":   Kernels(admin, holdings.Query{Search: "x"}, holdings.Page[holdings.Kernel]{}),
		"servers":        Servers(admin, holdings.Query{After: "eA"}, holdings.Page[holdings.Server]{Items: sampleServers(), Total: 4}),
		"kernel":         OneKernel(user, sampleKernels()[1], Events{Known: true}, sampleLogs()[:1], true),
		"kernel-admin":   OneKernel(admin, sampleKernels()[1], sampleEvents(), sampleLogs(), false),
		"kernel-queued":  OneKernel(admin, sampleKernels()[5], Events{Known: true}, []holdings.Log{{Missing: holdings.LogGone}}, false),
		"server-orphan":  OneServer(admin, sampleServers()[2], Events{}, nil, false),
		"server-admin":   OneServer(admin, sampleServers()[0], Events{}, []holdings.Log{{Container: "notebook", Missing: holdings.LogSilent}}, false),
		"policies":       Policies(admin, samplePolicies()),
		"policy":         OnePolicy(admin, samplePolicyView()),
		"policy-managed": OnePolicy(editing(""), samplePolicyViewOf("Helm")),
		"policy-delete":  DeletePolicy(editing(""), samplePolicyView()),
		"policy-edit":    EditPolicy(editing(""), samplePolicyForm()),
		"policy-edit-zh": EditPolicy(editing("zh-CN"), samplePolicyForm()),
		"policy-new":     EditPolicy(editing(""), PolicyForm{New: true, Form: policyedit.Form{}}),
		"policy-review":  ReviewPolicy(editing("ru"), samplePolicyReview()),
		"directory":      Directory(admin, sampleDirectory()),
		"directory-pick": PickGroups(admin, sampleDirectory()),
		"directory-none": Directory(admin, DirectoryGroups{}),
		"directory-down": Directory(admin, DirectoryGroups{Listed: true, Down: true}),
		"explain":        Explain(admin, sampleExplanation()),
		"explain-nobody": Explain(admin, ExplainView{User: "x", Explanation: groups.Explanation{Err: groups.ErrUnknownUser}}),
		"explain-none":   Explain(admin, ExplainView{}),
		"failed":         Failed(user, FaultNotFound, "0123"),
		"signed-out":     SignedOut(Console{Base: user.Base, Hub: user.Hub, Now: consoleNow, Msg: English()}),
		"hours":          HoursPage(admin, sampleHours(usage.ByGroup)),
		"hours-user":     HoursPage(sampleConsole("ru", true), sampleHours(usage.ByUser)),
		"hours-date":     HoursPage(sampleConsole("zh-CN", true), sampleHours(usage.ByDate)),
		"hours-none":     HoursPage(admin, Hours{Period: usage.Period{Months: 24}, By: usage.ByUser, Whose: "nobody", Dates: []usage.Line{{Name: "2026-01"}}}),
		"my-hours":       HoursPage(user, ownHours()),
	}
}

func rendered(t *testing.T, page templ.Component) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, page.Render(t.Context(), &b))
	return b.String()
}

func TestAServerHasTheNameThatItsUserGaveIt(t *testing.T) {
	t.Parallel()
	m := English()
	assert.Equal(t, "thesis", serverTitle(holdings.Server{Server: "thesis"}, m))
	assert.Equal(t, "My <thesis>", serverTitle(holdings.Server{Server: "thesis", DisplayName: "My <thesis>"}, m))
	assert.NotEmpty(t, serverTitle(holdings.Server{}, m))
}

func TestConsolePages(t *testing.T) {
	for name, page := range samples() {
		got := rendered(t, page)
		file := "testdata/console_" + name + ".html"
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, string(want), got, "go test ./web -update rewrites %s", file)
	}
}

// TestConsolePagesAreAccessible, as far as the markup tells.
func TestConsolePagesAreAccessible(t *testing.T) {
	for name, page := range samples() {
		root, err := html.Parse(strings.NewReader(rendered(t, page)))
		require.NoError(t, err)
		ids, headings, level := map[string]bool{}, 0, 1
		labels, described := map[string]bool{}, map[string]bool{}
		for node := range root.Descendants() {
			if node.Data == "label" {
				labels[attribute(node, "for")] = true
			}
			if at := attribute(node, "aria-describedby"); at != "" {
				described[at] = true
			}
		}
		for node := range root.Descendants() {
			if node.Type != html.ElementNode {
				continue
			}
			at := func(key string) string { return attribute(node, key) }
			if id := at("id"); id != "" {
				assert.False(t, ids[id], "%s: id %s is there twice", name, id)
				ids[id] = true
			}
			assert.Empty(t, at("style"), "%s: the policy for content allows no style in a page", name)
			for _, a := range node.Attr {
				assert.False(t, strings.HasPrefix(a.Key, "on"), "%s: %s", name, a.Key)
			}
			switch node.Data {
			case "html":
				assert.NotEmpty(t, at("lang"), name)
			case "h1", "h2", "h3":
				n := int(node.Data[1] - '0')
				if n == 1 {
					headings++
				}
				assert.LessOrEqual(t, n, level+1, "%s: a level of headings is left out", name)
				level = n
			case "input":
				if at("type") != "hidden" {
					assert.True(t, node.Parent.Data == "label" || labels[at("id")], "%s: an input without a label: %s", name, at("name"))
				}
			case "select", "textarea":
				assert.Equal(t, "label", node.Parent.Data, name)
			case "fieldset":
				assert.True(t, hasChild(node, "legend") || hasAttribute(node, "disabled"), "%s: a fieldset without a legend", name)
			case "th":
				assert.NotEmpty(t, at("scope"), name)
			case "a", "button", "summary":
				assert.NotEmpty(t, strings.TrimSpace(wordsOf(node)), "%s: a link or a button without words", name)
			case "script":
				assert.NotEmpty(t, at("src"), name)
				assert.Empty(t, wordsOf(node), name)
			case "style", "img", "iframe":
				assert.Fail(t, "not in these pages", "%s: %s", name, node.Data)
			}
		}
		for at := range described {
			for id := range strings.FieldsSeq(at) {
				assert.True(t, ids[id], "%s: nothing is described by %s", name, id)
			}
		}
		assert.Equal(t, 1, headings, name)
		assert.True(t, ids["main"], name)
	}
}

func attribute(node *html.Node, key string) string {
	for _, a := range node.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func wordsOf(node *html.Node) string {
	var b strings.Builder
	for n := range node.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
	}
	return b.String()
}

// TestConsoleIsInEveryLanguage: no English is left over.
func TestConsoleIsInEveryLanguage(t *testing.T) {
	words := map[string]string{"ru": "Припаркованные ядра", "zh-CN": "休眠的内核"}
	for language, word := range words {
		page := rendered(t, Cluster(sampleConsole(language, true), sampleOverview(), nil, sampleImages()))
		assert.Contains(t, page, word)
		for _, page := range []string{rendered(t, EditPolicy(editing(language), samplePolicyForm())), rendered(t, ReviewPolicy(editing(language), samplePolicyReview()))} {
			for _, english := range []string{"Show the change", "least", "Save", "Who is affected", "Priority", "in seconds"} {
				assert.NotContains(t, page, english, language)
			}
		}
		for _, english := range []string{"Parked kernels", "Sign out", "By node", "Skip to content"} {
			assert.NotContains(t, page, english, language)
		}
	}
}

func TestEveryFaultHasWords(t *testing.T) {
	seen, console := map[string]Fault{}, Console{Msg: English()}
	for _, f := range []Fault{FaultNotAllowed, FaultCrossSite, FaultSignIn, FaultProvider, FaultNoRoute, FaultNoAdmin, FaultNotFound, FaultConflict,
		FaultNotRunning, FaultNotWaiting, FaultNothingToKeep, FaultSnoozeUsedUp, FaultNoReason, FaultUnreadable, FaultSignInNew, FaultDirectory, FaultBusy, FaultReadOnly, FaultInternal} {
		words := console.fault(f)
		assert.NotEmpty(t, words)
		assert.NotContains(t, seen, words, "%s reads as %s", f, seen[words])
		seen[words] = f
	}
	assert.Equal(t, console.fault(FaultInternal), console.fault("of a later release"))
}

// TestHostileNames: what others have named is text wherever it stands.
func TestHostileNames(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>' javascript:alert(3)`
	c := editing("")
	c.User = evil
	k := sampleKernels()[2]
	k.ID, k.User, k.Notebook, k.KernelSpec, k.Title, k.Document, k.Message, k.Node, k.Policy, k.Cause = evil, evil, evil, evil, evil, evil, evil, evil, evil, evil
	k.Queue, k.Devices = &holdings.Place{Position: 1, Length: 1, Reason: evil}, map[string]int64{evil: 1}
	s := sampleServers()[0]
	k.Moved = &holdings.Moved{To: evil, By: evil, Reason: evil}
	s.Name, s.User, s.Server, s.Message, s.Node, s.Policy, s.Image = evil, evil, evil, evil, evil, evil, evil
	p := samplePolicies()[1]
	p.Name, p.DisplayName, p.Groups, p.Fault = evil, evil, []string{evil}, evil
	o := sampleOverview()
	o.Devices[0].Resource, o.Nodes[0].Name, o.Policies[1].Name = evil, evil, evil
	query := holdings.Query{Search: evil, User: evil, Sort: evil, After: evil}
	for _, page := range []templ.Component{
		Mine(c, []holdings.Server{s}, []holdings.Kernel{k}, []Budget{{Standing: usage.Standing{Budget: usage.Budget{Policy: evil, Resource: evil, Limit: 1, Window: usage.Window{Zone: evil}}, Used: 1}}}), Cluster(c, o, []holdings.Kernel{k}, Images{true, true, []imagestate.Image{{Image: evil, UsedBy: []imagestate.Use{{Policy: evil, Channel: evil}, {KernelSpec: evil}}, Why: []string{evil}}}}), OneKernel(c, k, Events{true, []holdings.Event{{Message: evil, Reason: evil}}}, []holdings.Log{{Container: evil, Lines: []string{evil}}, {Container: evil, Missing: holdings.LogMissing(evil)}}, false), OneServer(c, s, Events{}, nil, false),
		Kernels(c, query, holdings.Page[holdings.Kernel]{Items: []holdings.Kernel{k}, Next: evil}), Servers(c, query, holdings.Page[holdings.Server]{Items: []holdings.Server{s}, Next: evil}),
		Policies(c, []holdings.Policy{p}), Failed(c, Fault(evil), evil),
		OnePolicy(c, PolicyView{Policy: p, Manager: policyedit.Manager{Name: evil, Sign: evil}, YAML: evil, Affected: hostileAffected(evil)}),
		DeletePolicy(c, PolicyView{Policy: p, Version: evil, Affected: hostileAffected(evil)}), EditPolicy(c, hostileForm(evil)), PickGroups(c, hostileForm(evil).Groups), Directory(c, hostileForm(evil).Groups),
		ReviewPolicy(c, PolicyReview{PolicyForm: hostileForm(evil), Changes: []policyedit.Change{{Field: evil, Old: new(evil), New: new(evil)}}, YAML: evil, Reason: evil, Affected: hostileAffected(evil)}),
		Explain(c, ExplainView{User: evil, Explanation: groups.Explanation{Err: groups.ErrNoPolicy, Groups: []groups.Group{{Name: evil, DN: evil}}, Policies: []groups.PolicyExplanation{{Name: evil, Other: evil, Claim: groups.ClaimBehind, Faults: []string{evil}, MatchedBy: []groups.Group{{Name: evil}}}}}}),
	} {
		root, err := html.Parse(strings.NewReader(rendered(t, page)))
		require.NoError(t, err)
		found := false
		for node := range root.Descendants() {
			if node.Type == html.TextNode && strings.Contains(node.Data, "<script>") {
				found = true
			}
			if node.Type != html.ElementNode {
				continue
			}
			assert.NotEqual(t, "img", node.Data)
			if node.Data == "script" {
				assert.True(t, strings.HasPrefix(attribute(node, "src"), c.Base+"static/"))
			}
			for _, a := range node.Attr {
				assert.False(t, strings.HasPrefix(a.Key, "on"), a.Key)
				if a.Key == "href" || a.Key == "action" || a.Key == "src" {
					assert.True(t, strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "//") || a.Val == "#main" || strings.HasPrefix(a.Val, "#p-"), a.Val)
				}
			}
		}
		assert.True(t, found, "the name is there, as text")
	}
}

func TestWordsForWhatIsKept(t *testing.T) {
	k := holdings.Kernel{Phase: v1alpha1.KernelParked}
	for _, row := range []struct {
		kept *holdings.Kept
		want []string
	}{
		{nil, nil},
		{&holdings.Kept{Whole: true, Variables: 1}, []string{"1 variable is kept, all there was."}},
		{&holdings.Kept{Whole: true, Variables: 12}, []string{"12 variables are kept, all there were."}},
		{&holdings.Kept{Variables: 2, Lost: []string{"model", "<b>"}}, []string{"2 variables are kept; lost: model, <b>."}},
	} {
		k.Kept = row.kept
		assert.Equal(t, row.want, sampleConsole("", false).kernelLines(k))
	}
}

func TestWordsForTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 seconds", time.Second: "1 second", 119 * time.Second: "119 seconds", 2 * time.Minute: "2 minutes", 119 * time.Minute: "119 minutes",
		2 * time.Hour: "2 hours", 47 * time.Hour: "47 hours", 49 * time.Hour: "2 days",
	} {
		assert.Equal(t, want, English().about(d))
	}
}
