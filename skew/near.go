package skew

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"
)

// Near reports whether parts of two releases work together: their major versions are the same,
// and their minor ones at most one apart. What is no release is near: nothing is known of it.
func Near(one, other string) bool {
	a, err := version.ParseSemantic(one)
	if err != nil {
		return true
	}
	b, err := version.ParseSemantic(other)
	if err != nil {
		return true
	}
	return a.Major() == b.Major() && max(a.Minor(), b.Minor())-min(a.Minor(), b.Minor()) <= 1
}

// ApartError says that two parts do not work together. It is a sentence for people.
type ApartError struct {
	// One is this part, and Other the one that has told its release.
	One, Other               Part
	OneRelease, OtherRelease string
}

func (e *ApartError) Error() string {
	return fmt.Sprintf("%s is elastichub %s and %s is %s: they are too far apart, since a release works with the same and with the former minor one",
		e.One, e.OneRelease, e.Other, e.OtherRelease)
}

// OtherIsOlder reports whether it is the other part that has to follow.
func (e *ApartError) OtherIsOlder() bool {
	a, errOne := version.ParseSemantic(e.OneRelease)
	b, errOther := version.ParseSemantic(e.OtherRelease)
	return errOne == nil && errOther == nil && b.LessThan(a)
}

// Check is the rule for this part and another that has told what it is: nil, or an *ApartError.
// Who tells nothing is not refused: it may be no part of ours.
func Check(here, other Part, told Told) error { return check(Release(), here, other, told) }

func check(release string, here, other Part, told Told) error {
	if told.Release == "" || Near(release, told.Release) {
		return nil
	}
	return &ApartError{One: here, Other: other, OneRelease: release, OtherRelease: told.Release}
}

// CheckOurs is Check for a part that is nobody else's: one that tells nothing is Silent.
func CheckOurs(here, other Part, told Told) error { return checkOurs(Release(), here, other, told) }

func checkOurs(release string, here, other Part, told Told) error {
	if told.Release == "" {
		told.Release = Silent
	}
	return check(release, here, other, told)
}
