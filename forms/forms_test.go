package forms

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
)

// allowance: cpu 0.5 to 4 by 0.5; memory 1 to 10.5 GiB by 2, so that the
// highest is on no step.
func allowance() groups.Allowance {
	return groups.Allowance{
		CPU: groups.Range{Min: resource.MustParse("500m"), Max: resource.MustParse("4"), Step: resource.MustParse("500m"),
			Default: resource.MustParse("1"), RequestRatio: 1.0 / 3},
		Memory: groups.Range{Min: resource.MustParse("1Gi"), Max: resource.MustParse("10752Mi"), Step: resource.MustParse("2Gi"),
			Default: resource.MustParse("3Gi"), RequestRatio: 1},
		Images: []v1alpha1.ImageChannel{
			{ID: "old", Hidden: true}, {ID: "stable"}, {ID: "dev", Redirect: &v1alpha1.ChannelRedirect{To: "stable"}},
		},
	}
}

func options(cpu, memory, image string) Options {
	return Options{CPU: resource.MustParse(cpu), Memory: resource.MustParse(memory), Image: image}
}

func assertOptions(t *testing.T, want, got Options) {
	t.Helper()
	assert.Zero(t, want.CPU.Cmp(got.CPU), "cpu %s", got.CPU.String())
	assert.Zero(t, want.Memory.Cmp(got.Memory), "memory %s", got.Memory.String())
	assert.Equal(t, want.Image, got.Image)
}

// codes lists the faults as field:code.
func codes(t *testing.T, err error) string {
	t.Helper()
	var invalid *Invalid
	require.ErrorAs(t, err, &invalid)
	var all []string
	for _, f := range invalid.Fields {
		assert.NotEmpty(t, f.Message)
		all = append(all, f.Field+":"+f.Code)
	}
	return strings.Join(all, " ")
}

func form(cpu, memory, image string) map[string][]string {
	return map[string][]string{"cpu": {cpu}, "memory": {memory}, "image": {image}}
}

func TestDecode(t *testing.T) {
	byDefault := options("1", "3Gi", "stable")
	for _, row := range []struct {
		name string
		form map[string][]string
		want Options
	}{
		{"nothing", nil, byDefault},
		{"only the Hub's own", map[string][]string{"_xsrf": {"x", "y"}, "next": {"/"}}, byDefault},
		{"lowest", form("0.5", "1", "stable"), options("500m", "1Gi", "stable")},
		{"highest, on no step", form("4", "10.5", "dev"), options("4", "10752Mi", "dev")},
		{"trailing zeros", form("1.50", "03.0", "stable"), options("1500m", "3Gi", "stable")},
		{"hidden, by id", form("1", "3", "old"), options("1", "3Gi", "old")},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := Decode(allowance(), row.form)
			require.NoError(t, err)
			assertOptions(t, row.want, got)
		})
	}
}

func TestDecodeFaults(t *testing.T) {
	for _, row := range []struct {
		form map[string][]string
		want string
	}{
		{form("0.4", "0.5", "stable"), "cpu:below_min memory:below_min"},
		{form("0", "0", "stable"), "cpu:below_min memory:below_min"},
		{form("4.5", "10.6", "stable"), "cpu:above_max memory:above_max"},
		{form("4.0001", "10.50000000000001", "stable"), "cpu:above_max memory:above_max"},
		{form("999999999999999999999999999999999999", "100000000000000000000", "stable"), "cpu:above_max memory:above_max"},
		{form("0.75", "2", "stable"), "cpu:off_step memory:off_step"},
		{form("0.5000001", "3.0000000000001", "stable"), "cpu:off_step memory:off_step"},
		{form("1", "10", "stable"), "memory:off_step"},
		{form("", "", ""), "cpu:missing memory:missing image:missing"},
		{map[string][]string{"cpu": {"1"}}, "memory:missing image:missing"},
		{map[string][]string{"cpu": {}, "memory": {"1"}, "image": {"stable"}}, "cpu:missing"},
		{map[string][]string{"cpu": {"1", "1"}, "memory": {"1", "2"}, "image": {"stable", "stable"}}, "cpu:repeated memory:repeated image:repeated"},
		{form("1", "1", "Stable"), "image:not_offered"},
		{form("1", "1", "stable "), "image:not_offered"},
		{form("1", "1", "docker.io/evil:latest"), "image:not_offered"},
		{map[string][]string{"gpu": {"8"}, "CPU": {"1"}}, "CPU:unknown gpu:unknown"},
		{map[string][]string{"cpu": {"99"}, "memory": {"x"}, "image": {"none"}, "node": {"a"}}, "cpu:above_max memory:malformed image:not_offered node:unknown"},
	} {
		got, err := Decode(allowance(), row.form)
		assert.Equal(t, row.want, codes(t, err), "%v", row.form)
		assert.Equal(t, Options{}, got)
	}
}

func TestMalformedNumbers(t *testing.T) {
	for _, text := range []string{"-1", "+1", "1e0", "1E1", "0x1", "1_0", "1,5", "1.", ".5", "1..0", "1.0.0", " 1", "1 ", "1\n", "NaN", "nan", "Inf", "-Infinity",
		"one", "١", "１", "1\u200b", "\x00", "1\x00", "½", "1m", "1000m", "4Gi", "1/2", "--1", strings.Repeat("1", 49), strings.Repeat("9", 1<<20)} {
		_, err := Decode(allowance(), form(text, text, "stable"))
		assert.Equal(t, "cpu:malformed memory:malformed", codes(t, err), "%.20q", text)
	}
}

func TestCheck(t *testing.T) {
	for _, row := range []struct {
		raw  string
		want Options
	}{
		{``, options("1", "3Gi", "stable")},
		{`null`, options("1", "3Gi", "stable")},
		{` {} `, options("1", "3Gi", "stable")},
		{`{"_xsrf": {"a":[1]}}`, options("1", "3Gi", "stable")},
		{`{"cpu":"1.5","memory":"5Gi","image":"dev"}`, options("1500m", "5Gi", "dev")},
		{`{"cpu":1.5,"memory":5}`, options("1500m", "5Gi", "stable")},
		{`{"memory":"5120Mi"}`, options("1", "5Gi", "stable")},
		{`{"memory":"10.5Gi"}`, options("1", "10752Mi", "stable")},
		{`{"memory":"5"}`, options("1", "5Gi", "stable")},
	} {
		got, err := Check(allowance(), json.RawMessage(row.raw))
		require.NoError(t, err, row.raw)
		assertOptions(t, row.want, got)
	}
}

// What the Hub has kept may be another spawner's, or beyond a policy of today.
func TestStored(t *testing.T) {
	for _, row := range []struct {
		raw     string
		want    Options
		dropped string
	}{
		{`{"cpu":"1.5","memory":"5Gi","image":"dev"}`, options("1500m", "5Gi", "dev"), ""},
		{`{}`, options("1", "3Gi", "stable"), ""},
		{`{"profile":"x"}`, options("1", "3Gi", "stable"), "profile:unknown"},
		{`{"profile":"gpu","image":"registry.example/lab:1","cpu":"2"}`, options("2", "3Gi", "stable"), "image:not_offered profile:unknown"},
		{`{"cpu":"1000","memory":"5Gi"}`, options("1", "5Gi", "stable"), "cpu:above_max"},
		{`{"cpu":"2","cpu":"2"}`, options("1", "3Gi", "stable"), "cpu:repeated"},
		{`["profile"]`, options("1", "3Gi", "stable"), ":malformed"},
	} {
		got, dropped, err := Stored(allowance(), json.RawMessage(row.raw))
		require.NoError(t, err, row.raw)
		assertOptions(t, row.want, got)
		assert.Equal(t, row.dropped, codes(t, &Invalid{Fields: dropped}), row.raw)
	}
	a := allowance()
	a.Images = nil
	_, dropped, err := Stored(a, json.RawMessage(`{"profile":"x"}`))
	assert.Equal(t, "image:not_offered", codes(t, err), "not even the defaults are allowed")
	assert.NotEmpty(t, dropped)
}

func TestCheckFaults(t *testing.T) {
	for raw, want := range map[string]string{
		`[]`: ":malformed", `"x"`: ":malformed", `1`: ":malformed", `{`: ":malformed", `{}{}`: ":malformed", `{"cpu":1,}`: ":malformed",
		`{"cpu":1} x`: ":malformed", strings.Repeat("[", 20000): ":malformed",
		`{"image":"` + strings.Repeat("x", maxJSONBytes) + `"}`: ":malformed",
		`{"cpu":null,"memory":true,"image":1}`:                  "cpu:malformed memory:malformed image:malformed",
		`{"cpu":["1"],"memory":{"a":1},"image":["stable"]}`:     "cpu:malformed memory:malformed image:malformed",
		`{"cpu":-1,"memory":1e1}`:                               "cpu:malformed memory:malformed",
		`{"cpu":"","memory":"","image":""}`:                     "cpu:missing memory:missing image:missing",
		`{"cpu":"1","cpu":"1"}`:                                 "cpu:repeated",
		`{"cpu":"1","cp\u0075":"99"}`:                           "cpu:repeated",
		`{"cpu":1000,"memory":"500Gi"}`:                         "cpu:above_max memory:above_max",
		`{"memory":4294967296}`:                                 "memory:above_max",
		`{"memory":"4G"}`:                                       "memory:malformed",
		`{"memory":"4gi"}`:                                      "memory:malformed",
		`{"memory":"Gi"}`:                                       "memory:malformed",
		`{"memory":"4 Gi"}`:                                     "memory:malformed",
		`{"memory":"4GiGi"}`:                                    "memory:malformed",
		`{"cpu":"1000m"}`:                                       "cpu:malformed",
		`{"cpu":"1Gi"}`:                                         "cpu:malformed",
		`{"profile":"x","image":"img:1","nodeSelector":{}}`:     "image:not_offered nodeSelector:unknown profile:unknown",
	} {
		_, err := Check(allowance(), json.RawMessage(raw))
		assert.Equal(t, want, codes(t, err), "%.60s", raw)
	}
}

func TestFaultsAreBounded(t *testing.T) {
	many := map[string][]string{strings.Repeat("é", 1000): {"1"}, "bad\xff": {"1"}}
	for i := range 1000 {
		many[strings.Repeat("x", i+1)] = []string{"1"}
	}
	_, err := Decode(allowance(), many)
	var invalid *Invalid
	require.ErrorAs(t, err, &invalid)
	assert.Len(t, invalid.Fields, maxUnknown)
	assert.Less(t, len(err.Error()), 4096)
}

func TestMessagesNameTheBound(t *testing.T) {
	_, err := Check(allowance(), json.RawMessage(`{"cpu":64,"memory":"0.5Gi","image":"x"}`))
	var invalid *Invalid
	require.ErrorAs(t, err, &invalid)
	assert.Equal(t, []FieldError{
		{Field: "cpu", Code: AboveMax, Message: "At most 4 CPUs."},
		{Field: "memory", Code: BelowMin, Message: "At least 1 GiB."},
		{Field: "image", Code: NotOffered, Message: "One of: stable, dev."},
	}, invalid.Fields)
}

func TestOptionsJSON(t *testing.T) {
	text, err := json.Marshal(options("1500m", "10752Mi", "dev"))
	require.NoError(t, err)
	assert.JSONEq(t, `{"cpu":"1.5","memory":"10.5Gi","image":"dev"}`, string(text))
	var back Options
	require.NoError(t, json.Unmarshal(text, &back))
	assertOptions(t, options("1500m", "10752Mi", "dev"), back)
}

// A bound in decimal units has many decimals in GiB; it still comes back exactly.
func TestDecimalGigabytes(t *testing.T) {
	a := allowance()
	a.Memory.Max = resource.MustParse("60G")
	highest := FormatMemory(a.Memory.Max)
	assert.Equal(t, "55.87935447692871093", highest[:20])
	got, err := Decode(a, form("1", highest, "stable"))
	require.NoError(t, err)
	assert.Equal(t, int64(60e9), got.Memory.Value())
	text, err := json.Marshal(got)
	require.NoError(t, err)
	got, err = Check(a, text)
	require.NoError(t, err)
	assert.Equal(t, int64(60e9), got.Memory.Value())
}

func TestRequests(t *testing.T) {
	for _, row := range []struct {
		cpu, memory           string
		cpuRatio, memoryRatio float64
		wantCPU, wantMemory   string
	}{
		{"1", "1Gi", 1.0 / 3, 1, "330m", "1Gi"},
		{"2", "4Gi", 1.0 / 3, 1, "670m", "4Gi"},
		{"6", "8Gi", 1.0 / 3, 0.5, "2", "4Gi"},
		{"12", "124Gi", 1, 1, "12", "124Gi"},
		{"500m", "1Gi", 1.0 / 3, 0, "170m", "0"},
		{"5m", "1Gi", 1, 1, "5m", "1Gi"},
		{"2", "1Gi", 0, 0.3333, "0", "357878150"},
	} {
		a := allowance()
		a.CPU.RequestRatio, a.Memory.RequestRatio = row.cpuRatio, row.memoryRatio
		c, m := Requests(a, options(row.cpu, row.memory, ""))
		assert.Zero(t, c.Cmp(resource.MustParse(row.wantCPU)), "%+v: cpu %s", row, c.String())
		assert.Zero(t, m.Cmp(resource.MustParse(row.wantMemory)), "%+v: memory %s", row, m.String())
	}
}

func TestPrefill(t *testing.T) {
	for _, row := range []struct {
		last  string
		want  Values
		reset []string
	}{
		{``, Values{"1", "3", "stable", ""}, nil},
		{`{"cpu":"2.5","memory":"10.5Gi","image":"old"}`, Values{"2.5", "10.5", "old", ""}, nil},
		{`{"cpu":"64","memory":"5Gi","image":"gone"}`, Values{"1", "5", "stable", ""}, []string{"cpu", "image"}},
		{`{"profile":"gpu","cpu":"2"}`, Values{"2", "3", "stable", ""}, nil},
		{`rubbish`, Values{"1", "3", "stable", ""}, []string{"cpu", "memory", "image"}},
	} {
		got, reset := Prefill(allowance(), json.RawMessage(row.last))
		assert.Equal(t, row.want, got, row.last)
		assert.Equal(t, row.reset, reset, row.last)
	}
}

func TestEntered(t *testing.T) {
	got := Entered(map[string][]string{"cpu": {"-1", "2"}, "memory": {strings.Repeat("é", 1000)}, "image": {"a\xffb"}})
	assert.Equal(t, "-1", got.CPU)
	assert.Equal(t, strings.Repeat("é", 506), got.Memory)
	assert.Equal(t, "ab", got.Image)
	assert.Equal(t, Values{}, Entered(nil))
}

// within fails unless err is *Invalid or o lies within the allowance and
// survives a round trip.
func within(t *testing.T, a groups.Allowance, o Options, err error) {
	t.Helper()
	if err != nil {
		var invalid *Invalid
		require.True(t, errors.As(err, &invalid))
		require.NotEmpty(t, invalid.Fields)
		require.Equal(t, Options{}, o)
		return
	}
	require.True(t, a.CPU.Includes(o.CPU), o.CPU.String())
	require.True(t, a.Memory.Includes(o.Memory), o.Memory.String())
	require.Contains(t, []string{"old", "stable", "dev"}, o.Image)
	text, err := json.Marshal(o)
	require.NoError(t, err)
	again, err := Check(a, text)
	require.NoError(t, err)
	assertOptions(t, o, again)
}

func FuzzDecode(f *testing.F) {
	for _, seed := range [][5]string{
		{"1", "3", "stable", "_xsrf", "1"}, {"-1", "NaN", "x", "gpu", "1"}, {"0.5", "10.5", "old", "cpu", "1"}, {"1e9", "0x1p-2", "", "", ""},
		{"1", "1", "dev", "preset", "small"}, {"9", "", "dev", "preset", "beyond"}, {"1.5", "4.5", "stable", "lang", "ru"},
		{"١", "１", "ѕtable", "cpu ", "2"}, {"4.0000000000000000001", "10.5000000000000000000000000000000000000000000000", "stable\x00", "Preset", "small"},
		{"9223372036854775808", "8589934592", "stable", "memory", "Infinity"}, {"+1", "1,5", "STABLE", "preset", "small "}, {"00000000001", "003", "stable", "preset", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4])
	}
	f.Fuzz(func(t *testing.T, cpu, memory, image, other, more string) {
		in := form(cpu, memory, image)
		in[other] = append(in[other], more)
		a := allowance()
		a.Presets = []v1alpha1.Preset{
			{Name: "small", CPU: resource.MustParse("500m"), Memory: resource.MustParse("1Gi")},
			{Name: "beyond", CPU: resource.MustParse("500m"), Memory: resource.MustParse("1Ti")},
		}
		o, err := Decode(a, in)
		within(t, a, o, err)
	})
}

func FuzzCheck(f *testing.F) {
	for _, seed := range []string{`{}`, `null`, `{"cpu":"1","memory":"3Gi","image":"dev"}`, `{"cpu":1,"cpu":2}`, `{"memory":1e400}`, `[[[`, `{"a":{"b":[1]}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a := allowance()
		o, err := Check(a, raw)
		within(t, a, o, err)
		v, _ := Prefill(a, raw)
		o, err = Decode(a, form(v.CPU, v.Memory, v.Image))
		require.NoError(t, err, "what the form is filled with can be sent as it is")
		within(t, a, o, nil)
	})
}

func BenchmarkDecode(b *testing.B) {
	a, in := allowance(), form("1.5", "5", "stable")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(a, in); err != nil {
			b.Fatal(err)
		}
	}
}

func TestPresets(t *testing.T) {
	a := allowance()
	a.Presets = []v1alpha1.Preset{
		{Name: "small", CPU: resource.MustParse("500m"), Memory: resource.MustParse("1Gi")},
		{Name: "largest", CPU: resource.MustParse("4"), Memory: resource.MustParse("10752Mi")},
		{Name: "too large", CPU: resource.MustParse("5"), Memory: resource.MustParse("1Gi")},
		{Name: "off step", CPU: resource.MustParse("1"), Memory: resource.MustParse("1500Mi")},
		{Name: "", CPU: resource.MustParse("1"), Memory: resource.MustParse("1Gi")},
	}
	var offered []string
	for _, p := range Presets(a) {
		offered = append(offered, p.Name)
	}
	assert.Equal(t, []string{"small", "largest"}, offered)

	for _, row := range []struct {
		form map[string][]string
		want Options
	}{
		{map[string][]string{"preset": {"largest"}, "cpu": {"1"}, "memory": {"1"}, "image": {"dev"}}, options("4", "10752Mi", "dev")},
		{map[string][]string{"preset": {"largest"}, "cpu": {"NaN"}, "memory": {"1", "2"}, "image": {"dev"}}, options("4", "10752Mi", "dev")},
		{map[string][]string{"preset": {"small"}, "image": {"dev"}}, options("500m", "1Gi", "dev")},
		{map[string][]string{"preset": {""}, "cpu": {"1"}, "memory": {"1"}, "image": {"dev"}}, options("1", "1Gi", "dev")},
		{map[string][]string{"preset": {}, "lang": {"ru", "en"}}, options("1", "3Gi", "stable")},
	} {
		got, err := Decode(a, row.form)
		require.NoError(t, err, "%v", row.form)
		assertOptions(t, row.want, got)
	}
	for _, row := range []struct {
		form map[string][]string
		want string
	}{
		{map[string][]string{"preset": {"small"}}, "image:missing"},
		{map[string][]string{"preset": {""}}, "cpu:missing memory:missing image:missing"},
		{map[string][]string{"preset": {"too large"}, "cpu": {"9"}, "memory": {"1"}, "image": {"dev"}}, "preset:not_offered"},
		{map[string][]string{"preset": {"Small"}, "cpu": {"1"}, "memory": {"1"}, "image": {"x"}}, "preset:not_offered image:not_offered"},
		{map[string][]string{"preset": {"small\u200b"}, "image": {"dev"}}, "preset:not_offered"},
		{map[string][]string{"preset": {"small", "small"}, "cpu": {"1"}, "memory": {"1"}, "image": {"dev"}}, "preset:repeated"},
	} {
		got, err := Decode(a, row.form)
		assert.Equal(t, row.want, codes(t, err), "%v", row.form)
		assert.Equal(t, Options{}, got)
	}
	_, err := Decode(a, map[string][]string{"preset": {"x"}, "image": {"dev"}})
	assert.ErrorContains(t, err, "One of: small, largest; or empty.")
	_, err = Decode(allowance(), map[string][]string{"preset": {"x"}, "image": {"dev"}})
	assert.ErrorContains(t, err, "There are no presets.")
	_, err = Check(a, json.RawMessage(`{"preset":"small"}`))
	assert.Equal(t, "preset:unknown", codes(t, err), "the options are numbers")

	v, _ := Prefill(a, json.RawMessage(`{"cpu":"4","memory":"10.5Gi"}`))
	assert.Equal(t, "largest", v.Preset)
	v, _ = Prefill(a, nil)
	assert.Empty(t, v.Preset)
}
