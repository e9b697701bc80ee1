package web

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
)

// submitted is what a browser without scripts sends for a page as it is.
func submitted(t *testing.T, page string) map[string][]string {
	t.Helper()
	form := map[string][]string{}
	for _, input := range elements(parse(t, page), "input") {
		name := attr(input, "name")
		checked := strings.Contains(attributes(input), "checked")
		if name == "" || attr(input, "type") == "radio" && !checked {
			continue
		}
		form[name] = append(form[name], attr(input, "value"))
	}
	return form
}

func attributes(n *html.Node) string {
	var keys []string
	for _, a := range n.Attr {
		keys = append(keys, a.Key)
	}
	return strings.Join(keys, " ")
}

func TestUntouchedFormIsAccepted(t *testing.T) {
	for _, in := range []SpawnFormInput{analysts(), researchers()} {
		o, err := forms.Decode(in.Allowance, submitted(t, render(t, in)))
		require.NoError(t, err)
		assert.Equal(t, in.Values, forms.Values{CPU: forms.FormatCPU(o.CPU), Memory: forms.FormatMemory(o.Memory), Image: o.Image, Preset: in.Values.Preset})
	}
}

func TestFaultsKeepWhatWasEntered(t *testing.T) {
	in := admins()
	page := render(t, in)
	assert.Equal(t, map[string][]string{"cpu": {"64"}, "memory": {"5"}, "image": {"hotfix"}, "lang": {"en"}}, submitted(t, page))
	root := parse(t, page)
	cpu := node(root, "id", "eh-cpu")
	assert.Equal(t, "true", attr(cpu, "aria-invalid"))
	assert.Contains(t, attr(cpu, "class"), "is-invalid")
	assert.Contains(t, strings.Fields(attr(cpu, "aria-describedby")), "eh-cpu-fault")
	assert.Equal(t, "Your group may have at most 12 CPUs.", text(node(root, "id", "eh-cpu-fault")))
	assert.Empty(t, text(node(root, "id", "eh-cpu-live")), "nothing is promised for a value that is refused")
	assert.Equal(t, "#eh-cpu", attr(elements(node(root, "role", "alert"), "a")[0], "href"))
	assert.Contains(t, text(node(root, "role", "alert")), "There is no option named “gpus”.")
	assert.Equal(t, "any", attr(node(root, "id", "eh-memory"), "step"), "the highest value is on no step")
	assert.Contains(t, text(node(root, "role", "status")), "as of 12:03 UTC")
}

func TestEveryReferenceResolves(t *testing.T) {
	for _, in := range []SpawnFormInput{analysts(), researchers(), admins(), both()} {
		root := parse(t, render(t, in))
		ids := map[string]int{}
		var walk func(n *html.Node, visit func(*html.Node))
		walk = func(n *html.Node, visit func(*html.Node)) {
			visit(n)
			for c := n.FirstChild; c != nil; c = c.NextSibling {
				walk(c, visit)
			}
		}
		walk(root, func(n *html.Node) {
			if id := attr(n, "id"); id != "" {
				ids[id]++
			}
		})
		walk(root, func(n *html.Node) {
			for _, key := range []string{"for", "aria-describedby", "aria-labelledby"} {
				for _, id := range strings.Fields(attr(n, key)) {
					assert.Equal(t, 1, ids[id], "%s=%s", key, id)
				}
			}
			if n.Type == html.ElementNode {
				assert.NotEqual(t, "form", n.Data)
				assert.False(t, n.Data == "button" && attr(n, "type") != "button", "no submit button of ours")
			}
			if attr(n, "type") == "range" {
				assert.Empty(t, attr(n, "name"), "sliders are not submitted")
			}
		})
	}
}

func TestLabelsAndGroups(t *testing.T) {
	root := parse(t, render(t, researchers()))
	labelled := map[string]bool{}
	for _, l := range elements(root, "label") {
		labelled[attr(l, "for")] = true
	}
	for _, input := range elements(root, "input") {
		assert.True(t, labelled[attr(input, "id")] || attr(input, "aria-label") != "" || attr(input, "type") == "hidden", attr(input, "id"))
	}
	for _, set := range elements(root, "fieldset") {
		assert.NotEmpty(t, elements(set, "legend"))
	}
	cpu := node(root, "id", "eh-cpu")
	assert.Equal(t, "0.5", attr(cpu, "min"))
	assert.Equal(t, "8", attr(cpu, "max"))
	assert.Equal(t, "0.5", attr(cpu, "step"))
	assert.Equal(t, "0.5 to 8 CPUs, in steps of 0.5.", text(node(root, "id", "eh-cpu-hint")))
	assert.Equal(t, "2 of 8 CPUs, request 0.67", text(node(root, "id", "eh-cpu-live")))
	assert.Equal(t, "4 of 32 GiB, all of it guaranteed", text(node(root, "id", "eh-memory-live")))
}

func TestChannels(t *testing.T) {
	page := render(t, researchers())
	assert.NotContains(t, page, "secret", "hidden and not chosen")
	in := researchers()
	in.Values.Image = "secret"
	root := parse(t, render(t, in))
	hidden := node(root, "id", "eh-image-secret")
	require.NotNil(t, hidden, "the last choice is shown though it is hidden")
	assert.Contains(t, attributes(hidden), "checked")
	assert.Contains(t, text(hidden.Parent), "no longer offered")
	old := node(root, "id", "eh-image-stable-old")
	redirect := elements(old.Parent, "label")[1]
	assert.Equal(t, "eh-image-stable", attr(redirect, "for"))
	assert.Equal(t, "Switch to Stable", text(redirect))
}

func TestKernels(t *testing.T) {
	kernels := func(in SpawnFormInput) string {
		return text(node(parse(t, render(t, in)), "aria-labelledby", "eh-gpu-title"))
	}

	shown := kernels(researchers())
	for _, part := range []string{"GPU kernels", "1 of 2 GPUs free now", "Python 3 (GPU)", "1 GPU", "GPU is returned after 60 seconds without work", "parked after 5 minutes without work if all variables are kept, else after 1 hour", "You hold 0 of 1 GPU that you can have at a time."} {
		assert.Contains(t, shown, part)
	}
	assert.NotContains(t, shown, "2 GPUs)", "more GPUs than the policy gives one kernel")
	assert.NotContains(t, shown, "R\n")

	assert.Equal(t, "GPU kernelsYour group has no GPU kernels. Notebooks run on the CPUs chosen above.", kernels(analysts()))

	in := researchers()
	in.Allowance.Kernels = v1alpha1.PolicyKernels{Allowed: []string{"python-cpu"}}
	shown = kernels(in)
	assert.Contains(t, shown, "Kernels on demand")
	assert.NotContains(t, shown, "GPUs free")
	in = researchers()
	in.GPUs = nil
	in.Kernels[0].IdleSeconds = 0
	shown = kernels(in)
	assert.NotContains(t, shown, "free now")
	assert.Contains(t, shown, "kept until you shut it down")
}

func TestResetNotice(t *testing.T) {
	in := analysts()
	in.Reset = []string{"cpu", "image"}
	assert.Contains(t, render(t, in), "Your last choice is no longer available (CPU, Software), so the default is selected.")
}

func TestStoppedNotice(t *testing.T) {
	at := time.Date(2026, 1, 2, 5, 4, 0, 0, time.FixedZone("", 7200))
	for _, row := range []struct {
		lang string
		stop AutoStop
		want string
	}{
		{"en", AutoStop{Cause: v1alpha1.StopIdle, After: time.Hour, At: at, KeepsFiles: true},
			"Your server was stopped on 2026-01-02 at 03:04 UTC: nobody used it for 1 hour. Your files are kept."},
		{"en", AutoStop{Cause: v1alpha1.StopIdle, After: 30 * time.Minute}, "Your server was stopped: nobody used it for 30 minutes."},
		{"en", AutoStop{Cause: v1alpha1.StopMaxRun, After: 7 * 24 * time.Hour, KeepsFiles: true},
			"Your server was stopped: it had run for 7 days, the longest that your group may. Your files are kept."},
		{"ru", AutoStop{Cause: v1alpha1.StopIdle, After: 2 * time.Hour, At: at, KeepsFiles: true},
			"Ваш сервер был остановлен 02.01.2026 в 03:04 UTC: 2 часа им никто не пользовался. Ваши файлы сохранены."},
		{"ru", AutoStop{Cause: v1alpha1.StopMaxRun, After: 21 * time.Minute},
			"Ваш сервер был остановлен: он проработал 21 минуту, дольше вашей группе нельзя."},
		{"zh", AutoStop{Cause: v1alpha1.StopIdle, After: time.Hour, At: at, KeepsFiles: true}, "您的服务器已于 2026 年 01 月 02 日 03:04 UTC 停止：连续 1 小时无人使用。您的文件已保留。"},
		{"zh", AutoStop{Cause: v1alpha1.StopMaxRun, After: 2 * 24 * time.Hour}, "您的服务器已停止：已运行 2 天，达到您所在组的最长运行时间。"},
	} {
		in := researchers()
		in.AutoStop = &row.stop
		notices := node(parse(t, renderIn(t, in, row.lang)), "role", "status")
		require.NotNil(t, notices, row.want)
		assert.Equal(t, row.want, text(notices))
	}
	assert.Nil(t, node(parse(t, render(t, researchers())), "role", "status"))
}

func TestFixedAmountHasNoSlider(t *testing.T) {
	in := analysts()
	in.Allowance.CPU.Max = in.Allowance.CPU.Min
	root := parse(t, render(t, in))
	assert.Contains(t, attributes(node(root, "id", "eh-cpu")), "readonly")
	assert.Nil(t, node(node(root, "data-eh-number", "cpu"), "type", "range"))
	assert.Equal(t, "Always 1 CPU.", text(node(root, "id", "eh-cpu-hint")))
}

func TestHostileTextsAreEscaped(t *testing.T) {
	for _, evil := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'onmouseover='alert(1)`, `</style><script>`, `</textarea>`, `javascript:alert(1)`,
		`{{7*7}}`, `&lt;b&gt;`, "\u202e\u0000", `<!--`, `]]>`, "a\nb",
	} {
		in := researchers()
		in.Allowance.DisplayName, in.Allowance.HelpText = evil, evil
		in.Values = forms.Values{CPU: evil, Memory: evil, Image: "stable-old"}
		in.Reset = []string{evil}
		in.Faults = []forms.FieldError{{Field: evil, Code: forms.Unknown}, {Field: evil, Code: forms.Malformed, Message: evil}, {Field: "cpu", Code: forms.Malformed}}
		in.Allowance.Presets = []v1alpha1.Preset{{Name: evil, CPU: resource.MustParse("1"), Memory: resource.MustParse("1Gi")}}
		in.Allowance.Images = []v1alpha1.ImageChannel{
			{ID: "stable", DisplayName: evil, Description: evil},
			{ID: "stable-old", DisplayName: evil, Redirect: &v1alpha1.ChannelRedirect{To: "stable", Message: evil}},
		}
		in.Kernels = []KernelChoice{{Name: "python-gpu", DisplayName: evil, GPUs: map[string]int64{wholeGPU: 1}, IdleSeconds: 60}}
		root := parse(t, render(t, in))
		assert.Len(t, elements(root, "script"), 1, evil)
		assert.Len(t, elements(root, "style"), 1, evil)
		assert.Empty(t, elements(root, "img"), evil)
		for _, tag := range []string{"input", "a", "button", "label", "span", "p", "div"} {
			for _, n := range elements(root, tag) {
				for _, a := range n.Attr {
					assert.False(t, strings.HasPrefix(a.Key, "on"), "%s: %s", evil, a.Key)
					assert.False(t, a.Key == "href" && !strings.HasPrefix(a.Val, "#"), "%s: %s", evil, a.Val)
				}
			}
		}
		// The parser drops NUL.
		assert.Contains(t, text(elements(root, "h2")[0]), strings.ReplaceAll(evil, "\x00", ""))
	}
}

// Nothing that comes in can hang or break the form; numbers that only
// ParseFloat understands least of all.
func TestStrangeEnteredNumbers(t *testing.T) {
	for _, value := range []string{"1e999999999", "NaN", "-Inf", "0x1p9999", "9e-999999999", "1.2.3", strings.Repeat("9", 64)} {
		in := analysts()
		in.Values.CPU = value
		root := parse(t, render(t, in))
		assert.Equal(t, value, attr(node(root, "id", "eh-cpu"), "value"))
		assert.Empty(t, text(node(root, "id", "eh-cpu-live")))
	}
}

func TestRequestIsWhatTheContainerRequests(t *testing.T) {
	for _, ratio := range []float64{0, 0.1, 0.25, 0.3333, 1.0 / 3, 0.5, 0.67, 1} {
		for milli := int64(5); milli <= 20000; milli += 5 {
			a := groups.Allowance{CPU: groups.Range{RequestRatio: ratio}}
			o := forms.Options{CPU: *resource.NewMilliQuantity(milli, resource.DecimalSI)}
			cpu, _ := forms.Requests(a, o)
			require.Equal(t, cpu.MilliValue(), int64(math.Round(request(float64(milli)/1000, ratio)*1000)), "%d m × %g", milli, ratio)
		}
	}
}

func TestPresets(t *testing.T) {
	root := parse(t, render(t, researchers()))
	var values []string
	for _, input := range elements(root, "input") {
		if attr(input, "name") == "preset" {
			values = append(values, attr(input, "value"))
			assert.Equal(t, attr(input, "value") == "medium", strings.Contains(attributes(input), "checked"))
			assert.Equal(t, attr(input, "value") == "", strings.Contains(attributes(input), "data-eh-own"))
		}
	}
	assert.Equal(t, []string{"small", "medium", "large", ""}, values, "what is beyond the bounds is not offered")

	in := researchers()
	in.Values = forms.Values{CPU: "1", Memory: "99", Image: "stable", Preset: "large"}
	in.Faults = []forms.FieldError{{Field: "image", Code: forms.NotOffered}}
	got := submitted(t, render(t, in))
	assert.Equal(t, []string{"large"}, got["preset"])
	assert.Equal(t, []string{"6"}, got["cpu"], "a size stands beside its own numbers only")
	assert.Equal(t, []string{"24"}, got["memory"])

	in.Values = forms.Values{CPU: "1", Memory: "2", Image: "stable", Preset: "gone"}
	in.Faults = []forms.FieldError{{Field: "preset", Code: forms.NotOffered}}
	page := render(t, in)
	assert.Equal(t, []string{""}, submitted(t, page)["preset"])
	root = parse(t, page)
	assert.Equal(t, "Choose one of these sizes.", text(node(root, "id", "eh-preset-fault")))
	assert.Equal(t, "#eh-preset-0", attr(elements(node(root, "role", "alert"), "a")[0], "href"))

	assert.NotContains(t, render(t, analysts()), `name="preset"`, "no presets, no choice of one")
}

func TestServers(t *testing.T) {
	in := researchers()
	in.Server = "two"
	page := render(t, in)
	assert.Contains(t, page, "Options for ML research, server “two”")
	assert.Contains(t, page, "1 of 2 servers running")
	assert.NotContains(t, page, "as many as you may have")
	in.Servers = 2
	assert.Contains(t, render(t, in), "You run 2 servers, as many as you may have. Stop one before you start another.")
	in = analysts()
	page = render(t, in)
	assert.NotContains(t, page, "running", "one server is no quota to show")
	in.Servers = 1
	assert.Contains(t, render(t, in), "You run 1 server, as many as you may have.")
}

func TestHelpOfThePolicy(t *testing.T) {
	root := parse(t, renderIn(t, researchers(), "ru"))
	assert.Equal(t, "Больше четырёх редко быстрее.", text(node(root, "id", "eh-cpu-help")))
	assert.Contains(t, strings.Fields(attr(node(root, "id", "eh-cpu"), "aria-describedby")), "eh-cpu-help")
	assert.Equal(t, "All have pandas.", text(node(root, "id", "eh-image-help")), "English where there is no Russian")
	assert.Contains(t, renderIn(t, researchers(), "zh"), "请勿空占 GPU。")
	in := researchers()
	in.Allowance.Help.Server = v1alpha1.LocalizedText{"en": "Instead."}
	page := render(t, in)
	assert.Contains(t, page, "Instead.")
	assert.NotContains(t, page, "Long training runs")
}

func TestGPUsInUse(t *testing.T) {
	in := researchers()
	pool := int32(4)
	in.Allowance.GPUs[0].Pool, in.Allowance.GPUs[0].PerUser = &pool, 2
	in.Held = map[string]HeldGPUs{wholeGPU: {User: 1, Pool: 3}}
	page := render(t, in)
	assert.Contains(t, page, "You hold 1 of the 2 GPUs that you can have at a time.")
	assert.Contains(t, page, "Your group holds 3 of its 4 GPUs.")
	in.Held = nil
	page = render(t, in)
	assert.Contains(t, page, "You can hold up to 2 GPUs at a time.")
	assert.NotContains(t, page, "Your group holds")
}
