package v1alpha1

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// An object that some other schema let through, or none, may hold what cannot be
// read: a number where a text belongs. A list or watch with one such object must not
// fail for all the others. So every kind is decoded in two steps. If the whole
// cannot be read, metadata and status are, and of spec only whose the object is
// (see the calls of decode); Malformed then tells why, and encoding the object
// gives its spec back as it was found.
//
// Unknown fields are no fault: they may be of a later release.

// MalformedError says what of an object cannot be read.
type MalformedError struct{ Problem string }

func (e *MalformedError) Error() string { return "it cannot be read: " + e.Problem }

// malformed is what is kept of an object that cannot be read.
type malformed struct {
	problem string
	// spec as it was found; nil if that is not at fault.
	spec []byte
}

func (m *malformed) err() error {
	if m == nil {
		return nil
	}
	return &MalformedError{m.problem}
}

// DeepCopy shares what nobody changes.
func (m *malformed) DeepCopy() *malformed { return m }

// decode reads an object into plain, which is one of the kinds without its
// methods. What cannot be read is told by the result; an error means that not even
// metadata can. identity are the fields of spec, by their names in JSON, that are
// read all the same, each by itself.
func decode(data []byte, plain any, identity map[string]any) (*malformed, error) {
	fault := kjson.UnmarshalCaseSensitivePreserveInts(data, plain)
	if fault == nil {
		return nil, nil
	}
	object := reflect.ValueOf(plain).Elem()
	object.SetZero()
	var found map[string]json.RawMessage
	if err := json.Unmarshal(data, &found); err != nil {
		return nil, err
	}
	if err := errors.Join(
		read(data, object.FieldByName("TypeMeta")), read(found["metadata"], object.FieldByName("ObjectMeta")),
	); err != nil {
		return nil, err
	}
	m := &malformed{}
	if err := read(found["status"], object.FieldByName("Status")); err != nil {
		m.problem = "status: " + err.Error()
	}
	if err := read(found["spec"], object.FieldByName("Spec")); err != nil {
		m.problem, m.spec = "spec: "+err.Error(), found["spec"]
		var fields map[string]json.RawMessage
		_ = json.Unmarshal(m.spec, &fields) // if it is no object, nothing is read
		for name, into := range identity {
			_ = read(fields[name], reflect.ValueOf(into).Elem())
		}
	}
	return m, nil
}

// read reads a part, and leaves nothing of it if it cannot be read.
func read(data []byte, into reflect.Value) error {
	if data == nil {
		return nil
	}
	err := kjson.UnmarshalCaseSensitivePreserveInts(data, into.Addr().Interface())
	if err != nil {
		into.SetZero()
	}
	return err
}

// encode writes an object whose spec could not be read with that spec as it was.
func encode(plain any, m *malformed) ([]byte, error) {
	text, err := json.Marshal(plain)
	if err != nil || m == nil || m.spec == nil {
		return text, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	fields["spec"] = m.spec
	return json.Marshal(fields)
}

// UnmarshalStrict reads one of the kinds from YAML. Unlike decoding it, it takes
// unknown fields, and what cannot be read, for errors.
func UnmarshalStrict(text []byte, into any) error {
	if o, ok := into.(interface{ plain() any }); ok {
		into = o.plain()
	}
	return yaml.UnmarshalStrict(text, into)
}
