package policyedit

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	jsonutil "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// Spec is that of a policy: maps, lists, text, bool, int64 and float64.
type Spec = map[string]any

// Decode reads a spec, or a part or a patch of one, from a JSON object.
func Decode(text []byte) (Spec, error) {
	var spec Spec
	if err := jsonutil.Unmarshal(text, &spec); err != nil {
		return nil, err
	}
	if spec == nil {
		return nil, fmt.Errorf("no object")
	}
	return spec, nil
}

// decodeYAML reads one from YAML; nothing at all is an empty one.
func decodeYAML(text string) (Spec, error) {
	if strings.TrimSpace(text) == "" {
		return Spec{}, nil
	}
	raw, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return nil, err
	}
	if string(raw) == "null" {
		return Spec{}, nil
	}
	return Decode(raw)
}

// Encode writes one as JSON.
func Encode(spec Spec) string {
	text, err := json.Marshal(spec)
	if err != nil {
		panic(err) // it came from JSON
	}
	return string(text)
}

// Patch is the JSON merge patch (RFC 7386) that makes one spec of another. Lists are
// whole. It says nothing of what is the same.
func Patch(from, to Spec) Spec {
	patch := Spec{}
	for key := range from {
		if _, stays := to[key]; !stays {
			patch[key] = nil
		}
	}
	for key, value := range to {
		old, was := from[key]
		a, isMap := old.(Spec)
		b, becomesMap := value.(Spec)
		switch {
		case was && same(old, value):
		case isMap && becomesMap:
			patch[key] = Patch(a, b)
		default:
			patch[key] = value
		}
	}
	return patch
}

// Apply puts a merge patch over a spec, which stays as it is.
func Apply(spec, patch Spec) Spec {
	result := maps.Clone(spec)
	if result == nil {
		result = Spec{}
	}
	for key, value := range patch {
		change, isMap := value.(Spec)
		switch {
		case value == nil:
			delete(result, key)
		case isMap:
			old, _ := result[key].(Spec)
			result[key] = Apply(old, change)
		default:
			result[key] = value
		}
	}
	return result
}

// same: 1 and 1.0 are.
func same(a, b any) bool {
	return reflect.DeepEqual(a, b) || text(a) == text(b) && reflect.TypeOf(a) != nil && !isText(a) && !isText(b)
}

func isText(v any) bool { _, is := v.(string); return is }

// Change is one value that becomes another.
type Change struct {
	// Field is its path below spec.
	Field string `json:"field"`
	// Old and New are absent where the field is.
	Old *string `json:"old,omitempty"`
	New *string `json:"new,omitempty"`
}

// Changes are all between two specs, by field.
func Changes(from, to Spec) []Change {
	before, after := map[string]string{}, map[string]string{}
	flatten("", from, before)
	flatten("", to, after)
	var all []Change
	for field, old := range before {
		if now, stays := after[field]; !stays {
			all = append(all, Change{Field: field, Old: &old})
		} else if now != old {
			all = append(all, Change{field, &old, &now})
		}
	}
	for field, now := range after {
		if _, was := before[field]; !was {
			all = append(all, Change{Field: field, New: &now})
		}
	}
	slices.SortFunc(all, func(a, b Change) int { return strings.Compare(a.Field, b.Field) })
	return all
}

// flatten lists values by path. A list of objects is told apart by what names them; the
// order of one counts, since the first image is the default.
func flatten(path string, value any, into map[string]string) {
	switch v := value.(type) {
	case Spec:
		if len(v) == 0 && path != "" {
			into[path] = "{}"
		}
		for key, child := range v {
			at := key
			if strings.ContainsAny(key, "./[]") {
				at = strconv.Quote(key)
			}
			if path != "" {
				at = path + "." + at
			}
			flatten(at, child, into)
		}
	case []any:
		names := namesIn(v)
		if names == nil {
			parts := make([]string, 0, len(v))
			for _, each := range v {
				parts = append(parts, text(each))
			}
			into[path] = strings.Join(parts, "\n")
			return
		}
		into[path] = strings.Join(names, "\n")
		for i, each := range v {
			flatten(path+"["+names[i]+"]", each, into)
		}
	default:
		into[path] = text(v)
	}
}

// namesIn are the names of a list's objects, nil if they have none of their own.
func namesIn(list []any) []string {
	var names []string
	for _, each := range list {
		object, _ := each.(Spec)
		name, _ := object["name"].(string)
		if id, has := object["id"].(string); has {
			name = id
		}
		if name == "" || slices.Contains(names, name) {
			return nil
		}
		names = append(names, name)
	}
	return names
}

// text is a value as a person writes it.
func text(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(raw)
}

// at finds a value by a dotted path of keys.
func at(spec Spec, path string) (any, bool) {
	key, rest, deeper := strings.Cut(path, ".")
	value, there := spec[key]
	if !deeper {
		return value, there
	}
	child, _ := value.(Spec)
	return at(child, rest)
}

// with puts a value at a path, or removes what is there, and what is empty then.
func with(spec Spec, path string, value any) Spec {
	result := maps.Clone(spec)
	if result == nil {
		result = Spec{}
	}
	key, rest, deeper := strings.Cut(path, ".")
	if deeper {
		child, _ := result[key].(Spec)
		_, was := result[key]
		child = with(child, rest, value)
		if len(child) > 0 || was && value != nil {
			result[key] = child
		} else {
			delete(result, key)
		}
		return result
	}
	if value == nil {
		delete(result, key)
	} else {
		result[key] = value
	}
	return result
}
