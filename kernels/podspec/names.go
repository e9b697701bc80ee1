package podspec

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

const (
	maxName  = 63 // of a Pod that is to have a host name of its own
	hashSize = 8
)

// PodName is the name of the Pod, and of the Secret, of one run of a kernel.
// Distinct kernels and runs never share one.
func PodName(kernel string, run int64) string {
	suffix := "-" + strconv.FormatInt(run, 10)
	if len(kernel)+len(suffix) <= maxName && !strings.Contains(kernel, ".") {
		return kernel + suffix
	}
	return squeeze(strings.ReplaceAll(kernel, ".", "-"), kernel, maxName-len(suffix)) + suffix
}

// squeeze shortens text to size bytes and ends it with "--" and the hash of
// what it stands for. Text of its own never has that ending by chance alone.
func squeeze(text, of string, size int) string {
	sum := sha256.Sum256([]byte(of))
	keep := min(len(text), size-hashSize-2)
	return strings.TrimRight(text[:keep], "-_.") + "--" + hex.EncodeToString(sum[:])[:hashSize]
}

var (
	formerPlainLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	notInFormerLabel = regexp.MustCompile(`[^a-z0-9]+`)
)

// formerLabel is the label value for a kernel's name on Pods that releases
// before podrules made. They may run for days: they must be found until none is
// left, and no longer than the release after this one.
func formerLabel(text string) string {
	if formerPlainLabel.MatchString(text) && !strings.Contains(text, "--") {
		return text
	}
	slug := strings.Trim(notInFormerLabel.ReplaceAllString(strings.ToLower(text), "-"), "-")
	if slug == "" {
		slug = "x"
	}
	return squeeze(slug, text, maxName)
}

// CurrentPodName is the Pod of a kernel's present run.
func CurrentPodName(kernel string, s v1alpha1.JupyterKernelStatus) string {
	if s.Warm != "" {
		return s.Warm
	}
	return PodName(kernel, s.Run)
}
