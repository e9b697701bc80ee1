package prepull

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/podrules"
)

// keyDigits is the length of a placement's key.
const keyDigits = 10

// Placement is a set of nodes, as Pods choose them, and the images that belong there.
type Placement struct {
	// Key stays the same while nodes come and go.
	Key          string
	NodeSelector map[string]string
	Tolerations  []corev1.Toleration
	// Nodes is the required affinity to nodes; nil: to none.
	Nodes *corev1.NodeSelector
	// Images in the order in which they are pulled.
	Images []string
	// PullSecrets are names of Secrets.
	PullSecrets []string
}

// place is where a Pod may run: what a Placement follows from.
type place struct {
	Selector    map[string]string
	Tolerations []corev1.Toleration
	Nodes       *corev1.NodeSelector
	// Devices are extended resources that a node must have.
	Devices []string
}

// placeOf takes from a Pod what says on which nodes it may run. A Pod that pulls asks for no
// devices, for it would hold them. It tolerates what the cluster lets those Pods tolerate
// that do (the admission plug-in ExtendedResourceToleration).
func placeOf(pod *corev1.PodSpec, devices map[string]int64) place {
	p := place{Selector: maps.Clone(pod.NodeSelector), Devices: slices.Sorted(maps.Keys(devices))}
	if len(p.Selector) == 0 {
		p.Selector = nil
	}
	if a := pod.Affinity; a != nil && a.NodeAffinity != nil {
		p.Nodes = a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.DeepCopy()
	}
	all := slices.Clone(pod.Tolerations)
	for _, device := range p.Devices {
		all = append(all, corev1.Toleration{Key: device, Operator: corev1.TolerationOpExists})
	}
	slices.SortFunc(all, func(a, b corev1.Toleration) int { return bytes.Compare(encoded(a), encoded(b)) })
	p.Tolerations = slices.CompactFunc(all, func(a, b corev1.Toleration) bool { return bytes.Equal(encoded(a), encoded(b)) })
	return p
}

// key is the same for equal places.
func (p place) key() string { return podrules.Digest(keyDigits, string(encoded(p))) }

// choosesNodes reports whether a Pod says itself on which nodes it may run.
func (p place) choosesNodes() bool { return len(p.Selector) > 0 || p.Nodes != nil }

// on narrows required node affinity to some nodes, by name.
func on(required *corev1.NodeSelector, names []string) *corev1.NodeSelector {
	terms := []corev1.NodeSelectorTerm{{}}
	if required != nil {
		terms = required.NodeSelectorTerms
	}
	narrowed := &corev1.NodeSelector{}
	for _, term := range terms {
		for _, name := range names {
			one := *term.DeepCopy()
			one.MatchFields = append(one.MatchFields, corev1.NodeSelectorRequirement{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{name}})
			narrowed.NodeSelectorTerms = append(narrowed.NodeSelectorTerms, one)
		}
	}
	return narrowed
}

// nodesWith are those that have every one of some devices, in order. counted is each
// device's nodes.
func nodesWith(devices []string, counted map[string][]string) []string {
	times := map[string]int{}
	for _, device := range devices {
		for _, node := range counted[device] {
			times[node]++
		}
	}
	var all []string
	for node, n := range times {
		if n == len(devices) {
			all = append(all, node)
		}
	}
	slices.Sort(all)
	return all
}

// encoded is JSON: plain structs always encode.
func encoded(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}
