package hubapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/hubapi"
	"github.com/elastichub/elastichub/hubapi/internal/inmemory"
	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/web"
)

func TestFormSpeaksTheBrowsersLanguage(t *testing.T) {
	h := newHarness(t)
	for accept, want := range map[string]string{"ru-RU,ru;q=0.9,en;q=0.5": "ru", "zh-CN": "zh-Hans", "de,en": "en", "": "en", "<b>": "en"} {
		w := h.call("GET", researcher+"/form?server=&lang="+url.QueryEscape(accept), "")
		require.Equal(t, http.StatusOK, w.Code)
		assert.Equal(t, want, w.Header().Get("Content-Language"))
		assert.Contains(t, w.Body.String(), `id="eh-form" lang="`+want+`"`)
	}
	w := h.call("GET", researcher+"/form?server=&lang="+strings.Repeat("a", 1025), "")
	assert.Equal(t, http.StatusBadRequest, w.Code)
}

func TestRefusalsInTheReadersLanguage(t *testing.T) {
	h := newHarness(t)
	for lang, want := range map[string]string{
		"ru": "Ни одна политика не даёт вашим группам сервера.", "zh": "没有策略允许您所在的组使用服务器。", "en": "No policy allows your groups a server.",
	} {
		w := h.call("GET", "/api/spawner/v1/users/guest/form?server=&lang="+lang, "")
		assert.Equal(t, http.StatusForbidden, w.Code)
		assert.Contains(t, problemOf(t, w)["detail"], want)
		w = h.call("POST", "/api/spawner/v1/users/guest/options?server=", `{"form":{"lang":["`+lang+`"]}}`)
		assert.Contains(t, problemOf(t, w)["detail"], want)
	}
	// Who sees no form reads English, in the same words.
	plain := problemOf(t, h.call("POST", "/api/spawner/v1/users/guest/options/check?server=", `{}`))
	assert.Equal(t, plain["detail"], problemOf(t, h.call("GET", "/api/spawner/v1/users/guest/form?server=", ""))["detail"])
	h.people.SetDown(true)
	w := h.call("GET", researcher+"/form?server=&lang=ru", "")
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Contains(t, problemOf(t, w)["detail"], "Каталог")
	assert.Equal(t, "5", w.Header().Get("Retry-After"))
}

func TestARefusedFormComesBackAsItWasEntered(t *testing.T) {
	h := newHarness(t)
	sent := `{"form":{"cpu":["64"],"memory":["3"],"image":["next"],"lang":["ru"]}}`
	w := h.call("POST", researcher+"/options?server=&form=true", sent)
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	p := problemOf(t, w)
	page := p["form"].(string)
	for _, part := range []string{`lang="ru"`, `value="64"`, `value="3"`, "Максимум для вашей группы: 4 ядра.", `aria-invalid="true"`} {
		assert.Contains(t, page, part)
	}
	assert.Equal(t, []string{"64", "3", "next"}, entered(t, page))
	assert.Equal(t, "At most 4 CPUs.", p["errors"].([]any)[0].(map[string]any)["message"], "programs read English")

	for _, query := range []string{"server=", "server=&form=false"} {
		assert.NotContains(t, problemOf(t, h.call("POST", researcher+"/options?"+query, sent)), "form")
	}
	for _, query := range []string{"server=&form=yes", "server=&form=true&form=true"} {
		assert.Equal(t, http.StatusBadRequest, h.call("POST", researcher+"/options?"+query, sent).Code)
	}
	w = h.call("POST", researcher+"/options?server=&form=true", `{"form":{"cpu":["4"],"memory":["3"],"image":["next"],"lang":["ru"]}}`)
	require.Equal(t, http.StatusOK, w.Code)
	assert.JSONEq(t, `{"options":{"cpu":"4","memory":"3Gi","image":"next"}}`, w.Body.String())
}

// entered is what the form would send for cpu, memory and image.
func entered(t *testing.T, page string) []string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	require.NoError(t, err)
	found := map[string]string{}
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		a := map[string]string{}
		for _, attribute := range n.Attr {
			a[attribute.Key] = attribute.Val
		}
		if _, checked := a["checked"]; n.Data == "input" && a["name"] != "" && (a["type"] != "radio" || checked) {
			found[a["name"]] = a["value"]
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(root)
	return []string{found["cpu"], found["memory"], found["image"]}
}

func TestFormOfANamedServer(t *testing.T) {
	h := newHarness(t)
	start := func(name, id, cpu string) {
		w := h.call("PUT", researcher+"/server?name="+name, fmt.Sprintf(`{"start":%q,"options":{"cpu":%q},"env":{},"cmd":["c"]}`, id, cpu))
		require.Equal(t, http.StatusOK, w.Code, w.Body)
	}
	form := func(name string) string { return h.call("GET", researcher+"/form?server="+name, "").Body.String() }
	start("", "s1", "3")
	start("second", "s2", "4")
	assert.Equal(t, "3", entered(t, form(""))[0])
	page := form("second")
	assert.Equal(t, "4", entered(t, page)[0], "every server has its own last choice")
	assert.Contains(t, page, "server “second”")
	assert.Contains(t, page, "1 of 2 servers running")
	assert.Contains(t, form("third"), "You run 2 servers, as many as you may have.")
	h.servers.Advance(spawner.Key{User: "researcher"}, v1alpha1.NotebookFailed, "", "gone")
	page = form("third")
	assert.Contains(t, page, "1 of 2 servers running")
	assert.Equal(t, "2", entered(t, page)[0])
	assert.NotContains(t, h.call("GET", "/api/spawner/v1/users/analyst/form?server=", "").Body.String(), "server “")
}

// half is a cluster of which less and less can be said.
type half struct {
	inmemory.Cluster
	kernels, gpus, held error
}

func (c half) Kernels(ctx context.Context, a groups.Allowance) ([]web.KernelChoice, error) {
	if c.kernels != nil {
		return nil, c.kernels
	}
	return c.Cluster.Kernels(ctx, a)
}

func (c half) GPUs(ctx context.Context, quotas []groups.GPUQuota) (map[string]web.GPUs, error) {
	if c.gpus != nil {
		return nil, c.gpus
	}
	return c.Cluster.GPUs(ctx, quotas)
}

func (c half) Held(ctx context.Context, user string, quotas []groups.GPUQuota) (map[string]web.HeldGPUs, error) {
	if c.held != nil {
		return nil, c.held
	}
	return c.Cluster.Held(ctx, user, quotas)
}

func TestFormSaysWhatIsKnown(t *testing.T) {
	fault := fmt.Errorf("10.0.0.1 is down")
	for _, row := range []struct {
		cluster             half
		kernel, free, holds bool
	}{
		{half{}, true, true, true},
		{half{held: fault}, true, true, false},
		{half{gpus: fault}, true, false, true},
		{half{kernels: fault}, false, false, false},
	} {
		h := newHarness(t, func(_ *hubapi.Config, d *hubapi.Dependencies) { d.Cluster = row.cluster })
		w := h.call("GET", researcher+"/form?server=", "")
		require.Equal(t, http.StatusOK, w.Code)
		page := w.Body.String()
		assert.Equal(t, row.kernel, strings.Contains(page, "Python (GPU)"))
		assert.Equal(t, row.free, strings.Contains(page, "1 of 2 GPUs free now"))
		assert.Equal(t, row.holds, strings.Contains(page, "You hold 1 of the 2 GPUs"))
		assert.NotContains(t, page, "10.0.0.1")
		assert.Equal(t, row.cluster != half{}, strings.Contains(h.log.String(), "10.0.0.1 is down"))
	}
}

// slicing is a cluster whose GPUs of one resource are cut up.
type slicing struct{ inmemory.Cluster }

const slice = "nvidia.com/mig-1g.5gb"

func (c slicing) Kernels(ctx context.Context, a groups.Allowance) ([]web.KernelChoice, error) {
	all, err := c.Cluster.Kernels(ctx, a)
	return append(all, web.KernelChoice{Name: "python-mig", DisplayName: "Python (slices)", GPUs: map[string]int64{slice: 2}, IdleSeconds: 60}), err
}

func (c slicing) GPUs(ctx context.Context, quotas []groups.GPUQuota) (map[string]web.GPUs, error) {
	now, err := c.Cluster.GPUs(ctx, quotas)
	if _, asked := now[slice]; asked {
		now[slice] = web.GPUs{Free: 5, Total: 7}
	}
	return now, err
}

func (c slicing) Held(ctx context.Context, user string, quotas []groups.GPUQuota) (map[string]web.HeldGPUs, error) {
	held, err := c.Cluster.Held(ctx, user, quotas)
	if _, asked := held[slice]; asked {
		held[slice] = web.HeldGPUs{User: 2, Pool: 4}
	}
	return held, err
}

func TestFormShowsTheGPUsOfEveryPolicy(t *testing.T) {
	policies := contractPolicies(t)
	pool := int32(6)
	policies[1].Spec.Groups = []string{"ml-research"}
	policies[1].Spec.Kernels = v1alpha1.PolicyKernels{Allowed: []string{"python-mig"}, GPUResource: slice, GPUsPerKernel: 2, GPUsPerUser: 3, GPUPool: &pool}
	page := func(matching groups.Matching) string {
		h := newHarness(t, func(_ *hubapi.Config, d *hubapi.Dependencies) {
			d.Cluster, d.Allowances = slicing{}, groups.NewService(contractPeople(t), policies, matching)
		})
		w := h.call("GET", researcher+"/form?server=", "")
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		return w.Body.String()
	}
	both := page(groups.MatchUnion)
	for _, part := range []string{
		"<b>nvidia.com/gpu</b>", "1 of 2 GPUs free now", "You hold 1 of the 2 GPUs that you can have at a time.",
		"<b>" + slice + "</b>", "5 of 7 GPUs free now", "You hold 2 of the 3 GPUs that you can have at a time.", "Your group holds 4 of its 6 GPUs.",
		"Python (GPU)", "Python (slices)",
	} {
		assert.Contains(t, both, part)
	}
	one := page(groups.MatchPriority)
	assert.Contains(t, one, "Python (GPU)")
	assert.Contains(t, one, "1 of 2 GPUs free now")
	assert.NotContains(t, one, "slices")
	assert.NotContains(t, one, slice)
}

func TestFormSaysWhyElastichubStoppedTheServer(t *testing.T) {
	h := newHarness(t)
	start := func(id string) {
		w := h.call("PUT", researcher+"/server?name=", fmt.Sprintf(`{"start":%q,"options":{},"env":{},"cmd":["c"]}`, id))
		require.Equal(t, http.StatusOK, w.Code, w.Body)
	}
	form := func(server string) string {
		return h.call("GET", researcher+"/form?server="+server, "").Body.String()
	}
	stop := spawner.AutoStop{Cause: v1alpha1.StopIdle, After: time.Hour, At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), KeepsFiles: true}
	start("s1")
	h.servers.AutoStop(spawner.Key{User: "researcher"}, stop)
	assert.Contains(t, form(""), "Your server was stopped on 2026-01-02 at 03:04 UTC: nobody used it for 1 hour. Your files are kept.")
	assert.NotContains(t, form("second"), "was stopped", "another server")
	again := h.call("POST", researcher+"/options?server=&form=true", `{"form":{"cpu":["64"]}}`)
	assert.NotContains(t, problemOf(t, again)["form"], "was stopped", "it has been read")

	start("s2")
	require.Equal(t, http.StatusAccepted, h.call("DELETE", researcher+"/server?name=", "").Code)
	assert.NotContains(t, form(""), "was stopped", "by hand")
}

// FuzzForm sends any body as a form: what comes out is within the allowance,
// or a problem whose form has no markup but ours.
func FuzzForm(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"form":{}}`, `{"form":{"cpu":["1"],"memory":["2"],"image":["stable"],"lang":["zh"]}}`, `{"form":{"cpu":["<script>"],"\"><b>":["1"]}}`,
		`{"form":{"cpu":["1","2"],"memory":[],"image":["stable\u0000"],"preset":["x"]}}`, `{"form":null}`, `[]`, `{"form":{"cpu":"1"}}`, `{"form":{"cpu":[1]}}`,
		`{"form":{"memory":["１"],"cpu":["1e999"],"image":["ѕtable"],"` + strings.Repeat("a", 300) + `":[]}}`, "{\"form\":{\"\xff\":[\"\xfe\"]}}", `{"form":{"cpu":["</style><script>"]}} {}`,
	} {
		f.Add([]byte(seed))
	}
	h := newHarness(f)
	f.Fuzz(func(t *testing.T, sent []byte) {
		w := h.call("POST", researcher+"/options?server=&form=true", string(sent))
		if w.Code == http.StatusOK {
			var got struct {
				Options struct{ CPU, Memory, Image string }
			}
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
			require.Contains(t, []string{"1", "2", "3", "4"}, got.Options.CPU)
			require.Regexp(t, `^[1-8]Gi$`, got.Options.Memory)
			require.Contains(t, []string{"stable", "next"}, got.Options.Image)
			return
		}
		require.Contains(t, []int{http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusUnsupportedMediaType}, w.Code)
		page, asked := problemOf(t, w)["form"].(string)
		require.Equal(t, w.Code == http.StatusUnprocessableEntity, asked)
		require.True(t, utf8.ValidString(page))
		require.LessOrEqual(t, strings.Count(page, "<script"), 1)
		require.LessOrEqual(t, strings.Count(page, "<b>"), 1, "the kernel's")
	})
}

// TestAHiddenChannelIsRefusedOnEachWay: a form, options checked, and a start, for who
// has not chosen it before.
func TestAHiddenChannelIsRefusedOnEachWay(t *testing.T) {
	policies := contractPolicies(t)
	policies[0].Spec.Images[1].Hidden = true // next
	h := newHarness(t, func(_ *hubapi.Config, d *hubapi.Dependencies) {
		d.Allowances = groups.NewService(contractPeople(t), policies, groups.MatchPriority)
	})
	ways := map[string][3]string{
		"form":  {"POST", "/options?server=", `{"form":{"cpu":["1"],"memory":["1"],"image":["next"]}}`},
		"check": {"POST", "/options/check?server=", `{"options":{"image":"next"}}`},
		"start": {"PUT", "/server?name=", `{"start":"s1","options":{"image":"next"},"env":{},"cmd":["c"]}`},
	}
	for name, w := range ways {
		answer := h.call(w[0], researcher+w[1], w[2])
		require.Equal(t, http.StatusUnprocessableEntity, answer.Code, name)
		assert.Contains(t, answer.Body.String(), `"not_offered"`, name)
	}
	_, err := h.servers.Start(t.Context(), spawner.Request{Key: spawner.Key{User: "researcher"}, Start: "s0", Options: json.RawMessage(`{"cpu":"1","memory":"1Gi","image":"next"}`)})
	require.NoError(t, err)
	for name, w := range ways {
		answer := h.call(w[0], researcher+w[1], w[2])
		assert.NotEqual(t, http.StatusUnprocessableEntity, answer.Code, "%s: who chose it keeps it: %s", name, answer.Body)
	}
}

func TestALinkFillsTheForm(t *testing.T) {
	h := newHarness(t)
	w := h.call("POST", researcher+"/form?server=", `{"form":{"cpu":["4"],"image":["next"],"utm":["1"]}}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	assert.Regexp(t, `id="eh-cpu"[^>]* value="4"`, w.Body.String())
	assert.Regexp(t, `id="eh-image-next"[^>]* checked`, w.Body.String())
	w = h.call("POST", researcher+"/form?server=", `{"form":{"cpu":["99"]}}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	assert.Contains(t, w.Body.String(), "at most 4 CPUs")
	states, err := h.servers.States(t.Context())
	require.NoError(t, err)
	assert.Empty(t, states, "nothing is started")
}
