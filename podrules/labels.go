package podrules

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

const (
	maxLabel = 63
	// labelDigits is KubeSpawner's, which dashboards know.
	labelDigits = 8
)

var (
	plainLabel = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`)
	unsafeRun  = regexp.MustCompile(`[^a-z0-9]+`)
)

// LabelValue is KubeSpawner's slug of a user or server name: the name itself
// where it can be a label and cannot be taken for a slug, else what people
// recognise of it, "---" and a hash. Distinct names have distinct values, and
// all objects of a user the same.
func LabelValue(name string) string {
	if name == "" || len(name) <= maxLabel && plainLabel.MatchString(name) && !strings.Contains(name, "--") {
		return name
	}
	return slug(name)
}

// ObjectLabel is the label value for the name of an object: the name itself,
// as everybody who looks for the object knows it, unless it is too long.
func ObjectLabel(name string) string {
	if len(name) <= maxLabel {
		return name
	}
	return slug(name)
}

func slug(name string) string {
	return Readable(name, maxLabel-len("---")-labelDigits) + "---" + Digest(labelDigits, name)
}

// Readable keeps what people recognise of a name: never empty, in lower case,
// without "--", and with no dash at either end.
func Readable(name string, limit int) string {
	text := strings.TrimLeft(unsafeRun.ReplaceAllString(strings.ToLower(name), "-"), "-")
	text = strings.TrimRight(text[:min(len(text), limit)], "-")
	if text == "" {
		return "x"
	}
	return text
}

// Digest is that many hexadecimal digits of a hash of all parts, which it
// separates by a byte that UTF-8 never contains.
func Digest(digits int, parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\xff")))
	return hex.EncodeToString(sum[:])[:digits]
}
