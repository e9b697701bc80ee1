package podtrouble

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// What keeps the API server from making something now, and may let it later although nobody changes
// what is asked for.
const (
	PassingQuota   = "QuotaExceeded"
	PassingWebhook = "WebhookUnavailable"
)

// Passing says in a CamelCase word what of the above it is; empty for what stays refused, as what is
// larger than a whole quota does.
func Passing(message string) string {
	if webhookFailed.MatchString(message) {
		return PassingWebhook
	}
	m := forbidden.FindStringSubmatch(message)
	if m == nil {
		return ""
	}
	if over := exceededQuota.FindStringSubmatch(m[1]); over != nil && !larger(over[2], over[4]) {
		return PassingQuota
	}
	return ""
}

// larger reports whether one of the amounts that are requested is more than the whole quota. That of
// objects is not an amount: who lets none be made has closed the namespace for now.
func larger(requested, limited string) bool {
	most := pairs(limited)
	for name, want := range pairs(requested) {
		wanted, err := resource.ParseQuantity(want)
		whole, err2 := resource.ParseQuantity(most[name])
		if err == nil && err2 == nil && wanted.Cmp(whole) > 0 && !countsObjects(name) {
			return true
		}
	}
	return false
}

// objectCounts are the numbers of objects that have a name without "count/".
var objectCounts = []corev1.ResourceName{
	corev1.ResourcePods, corev1.ResourceServices, corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
	corev1.ResourceQuotas, corev1.ResourceReplicationControllers, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
}

// countsObjects reports whether a resource of a quota is a number of objects.
func countsObjects(name string) bool {
	return slices.Contains(objectCounts, corev1.ResourceName(name)) || strings.HasPrefix(name, "count/")
}

// overQuota goes through the lists of a ResourceQuota's refusal: "cpu=2,pods=1".
func overQuota(name, requested, used, limited string) string {
	is, most := pairs(used), pairs(limited)
	never := larger(requested, limited)
	var parts []string
	for pair := range strings.SplitSeq(requested, ",") {
		resource, want, _ := strings.Cut(pair, "=")
		switch {
		case !never:
			parts = append(parts, fmt.Sprintf("%s more of %s, of which %s of %s are used", want, resource, is[resource], most[resource]))
		case larger(pair, limited):
			parts = append(parts, fmt.Sprintf("%s of %s, where the whole quota is %s", want, resource, most[resource]))
		}
	}
	if never {
		return fmt.Sprintf("the quota %s of its namespace never leaves enough: it asks for %s. Choose less, or have an administrator raise the quota.", name, list(parts))
	}
	return fmt.Sprintf("the quota %s of its namespace leaves too little: it asks for %s. Choose less, stop what is not needed there, or have an administrator raise the quota.", name, list(parts))
}

func pairs(text string) map[string]string {
	all := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(pair, "=")
		all[name] = value
	}
	return all
}
