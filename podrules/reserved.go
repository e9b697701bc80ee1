package podrules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// reservedDomains are those whose labels and annotations are elastichub's.
var reservedDomains = []string{"elastichub.io", "hub.jupyter.org", "app.kubernetes.io"}

// IsReservedKey reports whether a label or an annotation is elastichub's or a Deployment's own:
// what finds a Pod or a claim, and what says whose it is.
func IsReservedKey(key string) bool {
	if key == v1alpha1.LabelComponentShort || key == "pod-template-hash" {
		return true
	}
	domain, _, qualified := strings.Cut(key, "/")
	return qualified && slices.ContainsFunc(reservedDomains, func(own string) bool {
		return domain == own || strings.HasSuffix(domain, "."+own)
	})
}

// maxAnnotationBytes leaves room for elastichub's own: an object may have 256 KiB in all.
const maxAnnotationBytes = 32 << 10

// MetadataFaults are about labels and annotations that somebody gives to what elastichub
// makes. In those of a policy, texts stand for names.
func MetadataFaults(labels, annotations map[string]string, ofPolicy bool) []Fault {
	var faults []Fault
	add := func(list, key, problem string) {
		faults = append(faults, Fault{Path: fmt.Sprintf("%s[%s]", list, key), Problem: problem})
	}
	keys := func(list string, of map[string]string) []string {
		sorted := slices.Sorted(maps.Keys(of))
		for _, key := range sorted {
			name := key
			if list == "annotations" {
				name = strings.ToLower(key) // as the API server does
			}
			for _, text := range validation.IsQualifiedName(name) {
				add(list, key, text)
			}
			if IsReservedKey(key) {
				add(list, key, "is elastichub's own")
			}
		}
		return sorted
	}
	for _, key := range keys("labels", labels) {
		value := labels[key]
		if ofPolicy {
			value = example(value)
		}
		for _, text := range validation.IsValidLabelValue(value) {
			add("labels", key, text)
		}
	}
	size := 0
	for _, key := range keys("annotations", annotations) {
		size += len(key) + len(annotations[key])
	}
	if size > maxAnnotationBytes {
		faults = append(faults, Fault{Path: "annotations", Problem: fmt.Sprintf("have %d bytes, the most is %d", size, maxAnnotationBytes)})
	}
	return faults
}
