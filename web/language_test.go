package web

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
)

func TestLanguages(t *testing.T) {
	c, err := readLanguages(languageFiles)
	require.NoError(t, err, "every language has every text, with the same placeholders and all plural forms")
	var tags []string
	for _, m := range c.all {
		tags = append(tags, m.Lang)
	}
	assert.Equal(t, []string{"en", "ru", "zh-Hans"}, tags)

	// A language that copied a sentence has not translated it.
	english := reflect.ValueOf(c.all[0].texts)
	words := regexp.MustCompile(`[a-z]+ [a-z]+`)
	for _, m := range c.all[1:] {
		for i, v := 0, reflect.ValueOf(m.texts); i < v.NumField(); i++ {
			theirs, own := english.Field(i).Interface().(message).plain(), v.Field(i).Interface().(message).plain()
			assert.False(t, theirs == own && words.MatchString(own), "%s: %s", m.Lang, own)
		}
	}
}

func TestFaultsOfALanguage(t *testing.T) {
	for _, row := range []struct {
		spoil func(*texts)
		want  string
	}{
		{func(s *texts) { s.Faults = message{} }, "faults: is missing"},
		{func(s *texts) { s.Slider = one("Ползунок") }, "slider: has [] instead of [field]"},
		{func(s *texts) { s.Slider = one("{field} {feld}") }, "slider: has [feld field] instead of [field]"},
		{func(s *texts) { s.GPUsFree = one("{free} {n}") }, "gpusFree: lacks the plural form one"},
		{func(s *texts) { s.GPUsFree = one("{free} {n}") }, "gpusFree: lacks the plural form few"},
		{func(s *texts) { s.GPUsFree = one("{free} {n}") }, "gpusFree: lacks the plural form many"},
	} {
		broken := *ForLanguages("ru")
		row.spoil(&broken.texts)
		assert.ErrorContains(t, broken.compare(English()), "web: language ru: "+row.want)
	}
	for content, want := range map[string]string{
		"faultz: x":                       `unknown field "faultz"`,
		"faults: [x]":                     "a text is a string",
		"hours: {one: x}":                 "other must be there",
		"hours: {other: x, several: x}":   "the plural forms are",
		"hours: {other: x}\nhours: {one}": "already set",
	} {
		_, err := readMessages("ru", []byte(content))
		assert.ErrorContains(t, err, want, content)
	}
	_, err := readMessages("klingon_", nil)
	assert.ErrorContains(t, err, `language "klingon_"`)
}

func one(s string) (m message) {
	if err := m.UnmarshalJSON([]byte(strconv.Quote(s))); err != nil {
		panic(err)
	}
	return m
}

func TestForLanguages(t *testing.T) {
	for accept, want := range map[string]string{
		"": "en", "en": "en", "ru": "ru", "ru-RU,ru;q=0.9,en-US;q=0.8": "ru", "RU": "ru",
		"zh": "zh-Hans", "zh-CN,zh;q=0.9,en;q=0.8": "zh-Hans", "zh-Hans": "zh-Hans", "zh-SG": "zh-Hans",
		"zh-TW,en;q=0.8": "en", "zh-TW,zh;q=0.9,en;q=0.8": "zh-Hans", "zh-Hant": "en",
		"de,ru;q=0.5": "ru", "de-DE,de;q=0.9": "en", "uk,en;q=0.5": "en", "uk,ru;q=0.8,en;q=0.5": "ru",
		"en;q=0.5,ru;q=0.9": "ru", "*": "en", "en-GB": "en", "ru;q=0,en": "en",
		"ru;q=nonsense": "en", "<script>": "en", "\x00": "en", "ру": "en", "x-ru": "en", ",,,": "en", "-----": "en",
	} {
		assert.Equal(t, want, ForLanguages(accept).Lang, "%q", accept)
	}
}

func TestRussianPlurals(t *testing.T) {
	m := ForLanguages("ru")
	for n, want := range map[string]string{
		"0": "0 ядер", "1": "1 ядро", "2": "2 ядра", "4": "4 ядра", "5": "5 ядер", "11": "11 ядер", "12": "12 ядер", "14": "14 ядер", "20": "20 ядер",
		"21": "21 ядро", "22": "22 ядра", "25": "25 ядер", "101": "101 ядро", "111": "111 ядер", "1000": "1000 ядер", "1000000000000000000001": "1000000000000000000001 ядро",
		"0.5": "0,5 ядра", "1.5": "1,5 ядра", "2.25": "2,25 ядра",
	} {
		assert.Equal(t, want, m.count(m.CPUAmount, n))
	}
	for d, want := range map[time.Duration]string{
		time.Second: "1 секунду", 22 * time.Second: "22 секунды", 60 * time.Second: "60 секунд", 90 * time.Second: "90 секунд",
		5 * time.Minute: "5 минут", 21 * time.Minute: "21 минуту", time.Hour: "1 час", 3 * time.Hour: "3 часа", 24 * time.Hour: "24 часа", 47 * time.Hour: "47 часов",
		48 * time.Hour: "2 дня", 168 * time.Hour: "7 дней", 21 * 24 * time.Hour: "21 день",
	} {
		assert.Equal(t, want, m.duration(d))
	}
	zh := ForLanguages("zh")
	assert.Equal(t, "1 小时", zh.duration(time.Hour))
	assert.Equal(t, "0.5 核", zh.count(zh.CPUAmount, "0.5"))
	en := English()
	assert.Equal(t, "1 CPU", en.count(en.CPUAmount, "1"))
	assert.Equal(t, "1.5 CPUs", en.count(en.CPUAmount, "1.5"))
	assert.Equal(t, "0 CPUs", en.count(en.CPUAmount, "0"))
}

func TestFillLooksAtItsValuesOnce(t *testing.T) {
	assert.Equal(t, "a {b} {x} {", fill("{a} {b} {x} {", "a", "a"))
	assert.Equal(t, "{b} B", fill("{a} {b}", "a", "{b}", "b", "B"))
	assert.Equal(t, "b B", fill("{a} {b}", "a", "b", "b", "B"), "a value is no name")
	assert.Equal(t, "}{", fill("}{", "", "x"))
}

func TestNumberFaultsInEveryLanguage(t *testing.T) {
	for _, m := range languages().all {
		b := fieldBounds{lowest: "0.5", highest: "4", step: "0.5", amount: m.CPUAmount}
		seen := map[string]bool{}
		for _, code := range []forms.Code{forms.Missing, forms.Malformed, forms.BelowMin, forms.AboveMax, forms.OffStep, forms.Repeated} {
			said := m.numberFault(code, b)
			assert.NotContains(t, said, "{", "%s %s", m.Lang, code)
			seen[said] = true
		}
		assert.Len(t, seen, 6, m.Lang)
	}
	m := ForLanguages("ru")
	assert.Equal(t, "Максимум для вашей группы: 4 ядра.", m.numberFault(forms.AboveMax, fieldBounds{lowest: "0.5", highest: "4", step: "0.5", amount: m.CPUAmount}))
}

func TestRefusalsInEveryLanguage(t *testing.T) {
	for _, err := range []error{groups.ErrUnknownUser, groups.ErrNoPolicy, groups.ErrInvalidPolicy, groups.ErrSignInAgain, groups.ErrUnavailable} {
		seen := map[string]bool{}
		for _, m := range languages().all {
			said, ok := m.Refusal(fmt.Errorf("lookup: %w", err))
			assert.True(t, ok)
			seen[said] = true
		}
		assert.Len(t, seen, len(languages().all))
	}
	_, ok := English().Refusal(assert.AnError)
	assert.False(t, ok)
}
