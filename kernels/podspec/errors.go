package podspec

import (
	"cmp"
	"errors"
	"fmt"
)

// InvalidError means that a Pod can never be made from these objects as they
// are. Path names the field, in the object that Object names.
type InvalidError struct {
	Object  string
	Path    string
	Problem string
}

func (e *InvalidError) Error() string {
	if e.Object == "" {
		return e.Path + ": " + e.Problem
	}
	return e.Object + ": " + e.Path + ": " + e.Problem
}

func invalid(path, format string, args ...any) *InvalidError {
	return &InvalidError{Path: path, Problem: fmt.Sprintf(format, args...)}
}

func (e *InvalidError) in(object string) *InvalidError {
	if e != nil && e.Object == "" {
		e.Object = object
	}
	return e
}

// MissingError means that something a kernel refers to does not exist yet.
type MissingError struct {
	// Reason is the condition reason, e.g. TemplateMissing.
	Reason string
	// Object is its kind and name.
	Object string
	// Problem is what it lacks, if it is there.
	Problem string
}

func (e *MissingError) Error() string { return e.Object + " " + cmp.Or(e.Problem, "does not exist") }

// IgnoreUnbuildable is err unless it says that, for now, no Pod can be made.
func IgnoreUnbuildable(err error) error {
	if errors.As(err, new(*MissingError)) || errors.As(err, new(*InvalidError)) {
		return nil
	}
	return err
}
