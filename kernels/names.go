package kernels

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const (
	maxName  = 63 // of a Pod that is to have a host name of its own, and of a label value
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
	plainLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	notInLabel = regexp.MustCompile(`[^a-z0-9]+`)
)

// labelValue is text as a label value: itself when that is possible in plain
// lower case, else a slug with a hash, so that distinct texts stay distinct.
func labelValue(text string) string {
	if text == "" || plainLabel.MatchString(text) && !strings.Contains(text, "--") {
		return text
	}
	slug := strings.Trim(notInLabel.ReplaceAllString(strings.ToLower(text), "-"), "-")
	if slug == "" {
		slug = "x"
	}
	return squeeze(slug, text, maxName)
}

// KeySecretName is the Secret that holds a gateway's key.
func KeySecretName(gateway string) string { return gateway + "-gateway-key" }

func homeClaim(notebook, claim string) string {
	if claim != "" {
		return claim
	}
	return fmt.Sprintf("home-%s", notebook)
}
