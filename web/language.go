package web

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	"sigs.k8s.io/yaml"
)

// One file per language, named by its BCP 47 tag. A new file is a new
// language: nothing else has to know of it.
//
//go:embed languages/*.yaml
var languageFiles embed.FS

// fallback is the language of those who ask for none that there is.
const fallback = "en"

// languages are parsed once. A fault in an embedded file is a fault of the
// program, which TestLanguages finds.
var languages = sync.OnceValue(func() *catalogue {
	c, err := readLanguages(languageFiles)
	if err != nil {
		panic(err)
	}
	return c
})

// catalogue holds the languages there are, the fallback first.
type catalogue struct {
	all     []*Messages
	matcher language.Matcher
}

func readLanguages(files embed.FS) (*catalogue, error) {
	entries, err := files.ReadDir("languages")
	if err != nil {
		return nil, err
	}
	c := &catalogue{}
	for _, entry := range entries {
		content, err := files.ReadFile(path.Join("languages", entry.Name()))
		if err != nil {
			return nil, err
		}
		m, err := readMessages(strings.TrimSuffix(entry.Name(), ".yaml"), content)
		if err != nil {
			return nil, err
		}
		c.all = append(c.all, m)
	}
	slices.SortStableFunc(c.all, func(a, b *Messages) int {
		return strings.Compare(strings.TrimPrefix(a.Lang, fallback), strings.TrimPrefix(b.Lang, fallback))
	})
	if len(c.all) == 0 || c.all[0].Lang != fallback {
		return nil, errors.New("web: no texts in " + fallback)
	}
	var tags []language.Tag
	var faults []error
	for _, m := range c.all {
		tags = append(tags, m.tag)
		faults = append(faults, m.compare(c.all[0]))
	}
	c.matcher = language.NewMatcher(tags)
	return c, errors.Join(faults...)
}

func readMessages(tag string, content []byte) (*Messages, error) {
	parsed, err := language.Parse(tag)
	if err != nil {
		return nil, fmt.Errorf("web: language %q: %w", tag, err)
	}
	m := &Messages{Lang: tag, tag: parsed}
	if err := yaml.UnmarshalStrict(content, &m.texts); err != nil {
		return nil, fmt.Errorf("web: language %s: %w", tag, err)
	}
	return m, nil
}

// English are the English texts.
func English() *Messages { return languages().all[0] }

// ForLanguages chooses by an Accept-Language value, or by a single tag. Who
// asks for nothing, for nothing that there is, or for nonsense reads English.
// A language that is merely close, as Ukrainian is to Russian, is not it.
func ForLanguages(accept string) *Messages {
	wanted, _, err := language.ParseAcceptLanguage(accept)
	if err != nil {
		return English()
	}
	for _, tag := range wanted {
		if _, index, confidence := languages().matcher.Match(tag); confidence >= language.High {
			return languages().all[index]
		}
	}
	return English()
}

// compare holds the texts against those of the fallback language.
func (m *Messages) compare(with *Messages) error {
	var faults []error
	fault := func(key, what string) {
		faults = append(faults, fmt.Errorf("web: language %s: %s: %s", m.Lang, key, what))
	}
	own, other := reflect.ValueOf(m.texts), reflect.ValueOf(with.texts)
	for i := range own.NumField() {
		key := own.Type().Field(i).Tag.Get("json")
		mine, theirs := own.Field(i).Interface().(message), other.Field(i).Interface().(message)
		if mine.forms == nil {
			fault(key, "is missing")
			continue
		}
		for _, form := range mine.forms {
			if got, want := placeholders(form), placeholders(theirs.plain()); !slices.Equal(got, want) {
				fault(key, fmt.Sprintf("has %v instead of %v", got, want))
			}
		}
		if len(theirs.forms) == 1 {
			continue
		}
		for _, form := range pluralForms(m.tag) {
			if _, there := mine.forms[form]; !there {
				fault(key, "lacks the plural form "+pluralNames[form])
			}
		}
	}
	return errors.Join(faults...)
}

// message is one text with its plural forms, of which Other is always there.
type message struct {
	forms map[plural.Form]string
}

var pluralNames = map[plural.Form]string{
	plural.Zero: "zero", plural.One: "one", plural.Two: "two", plural.Few: "few", plural.Many: "many", plural.Other: "other",
}

// UnmarshalJSON reads a string, or an object of strings by plural form.
func (t *message) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		t.forms = map[plural.Form]string{plural.Other: one}
		return nil
	}
	var several map[string]string
	if err := json.Unmarshal(raw, &several); err != nil {
		return errors.New("a text is a string, or an object of strings")
	}
	t.forms = map[plural.Form]string{}
	for form, name := range pluralNames {
		if s, there := several[name]; there {
			t.forms[form] = s
			delete(several, name)
		}
	}
	if _, there := t.forms[plural.Other]; !there || len(several) > 0 {
		return errors.New("the plural forms are zero, one, two, few, many and other, of which other must be there")
	}
	return nil
}

func (t message) plain() string { return t.forms[plural.Other] }

// forNumber is the form for a plain decimal.
func (t message) forNumber(tag language.Tag, n string) string {
	if len(t.forms) > 1 {
		if s, there := t.forms[pluralForm(tag, n)]; there {
			return s
		}
	}
	return t.plain()
}

// fill puts values in the place of {names}, in one pass: what a value
// contains is left as it is. A placeholder without a value stays. pairs are
// names and values in turn.
func fill(s string, pairs ...string) string {
	if !strings.Contains(s, "{") {
		return s
	}
	var out strings.Builder
	for {
		start := strings.IndexByte(s, '{')
		if start < 0 {
			break
		}
		length := strings.IndexByte(s[start:], '}')
		if length < 0 {
			break
		}
		end := start + length + 1
		value := s[start:end]
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] == s[start+1:end-1] {
				value = pairs[i+1]
				break
			}
		}
		out.WriteString(s[:start])
		out.WriteString(value)
		s = s[end:]
	}
	out.WriteString(s)
	return out.String()
}

func placeholders(s string) []string {
	var names []string
	for _, part := range strings.Split(s, "{")[1:] {
		name, _, _ := strings.Cut(part, "}")
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// pluralForm is CLDR's for a plain decimal as it is written.
func pluralForm(tag language.Tag, n string) plural.Form {
	// The rules look at no more than the last digits.
	const digits = 6
	whole, fraction, _ := strings.Cut(n, ".")
	if len(whole) > digits {
		whole = whole[len(whole)-digits:]
	}
	if len(fraction) > digits {
		fraction = fraction[:digits]
	}
	trimmed := strings.TrimRight(fraction, "0")
	number := func(s string) int { i, _ := strconv.Atoi(s); return i }
	return plural.Cardinal.MatchPlural(tag, number(whole), len(fraction), len(trimmed), number(fraction), number(trimmed))
}

// pluralForms are those that a language tells apart for the numbers that the
// pages count.
func pluralForms(tag language.Tag) []plural.Form {
	seen := []plural.Form{plural.Other}
	for n := range 200 {
		if form := pluralForm(tag, strconv.Itoa(n)); !slices.Contains(seen, form) {
			seen = append(seen, form)
		}
	}
	return seen
}
