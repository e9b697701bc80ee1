package upgrade

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/elastichub/elastichub/skew"
)

// later reports whether a release came after another. What is no release did not.
func later(one, other string) bool {
	a, errOne := version.ParseSemantic(one)
	b, errOther := version.ParseSemantic(other)
	return errOne == nil && errOther == nil && b.LessThan(a)
}

// apart says why what is of a release cannot be brought to ours; empty: it can.
func apart(what, is, ours string) string {
	switch {
	case skew.Near(is, ours):
		return ""
	case later(is, ours):
		return fmt.Sprintf("%s is of %s, too far from %s and newer: take the binary and the chart of its release", what, is, ours)
	default:
		return fmt.Sprintf("%s is of %s, too far from %s: a release works with the same and with the former minor one, so upgrade by way of those between", what, is, ours)
	}
}

// ofImage is the release that an image is of, by its tag; empty: that is none.
func ofImage(image string) string {
	image, _, _ = strings.Cut(image, "@")
	at := strings.LastIndexByte(image, ':')
	if at <= strings.LastIndexByte(image, '/') {
		return ""
	}
	if _, err := version.ParseSemantic(image[at+1:]); err != nil {
		return ""
	}
	return image[at+1:]
}
