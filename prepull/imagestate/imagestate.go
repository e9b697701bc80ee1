package imagestate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// LabelPlacement is, on a Pod that pulls images, the key of the placement that it is for.
const LabelPlacement = "elastichub.io/prepull"

// Gate keeps such a Pod from being scheduled until it is its node's turn.
const Gate = "elastichub.io/prepull"

// Use is who runs an image: servers of a policy's channel, a container that a policy puts into
// the Pods of servers, kernels of a kernelspec, or, if Service is set, every kernel's Pod, which
// takes its agent from it.
type Use struct {
	Policy     string `json:"policy,omitempty"`
	Channel    string `json:"channel,omitempty"`
	Container  string `json:"container,omitempty"`
	KernelSpec string `json:"kernelspec,omitempty"`
	Service    bool   `json:"service,omitempty"`
}

// Wanted is an image that should be on nodes.
type Wanted struct {
	Image  string
	UsedBy []Use
	// Why is what keeps all of it from being pulled, as sentences.
	Why []string
}

// Nodes counts those that an image should be on. Each is in one state.
type Nodes struct {
	Total   int `json:"total"`
	Present int `json:"present"`
	Pulling int `json:"pulling"`
	Waiting int `json:"waiting"`
	Failing int `json:"failing"`
}

// Image is a wanted image, and how far it has come.
type Image struct {
	Image  string `json:"image"`
	UsedBy []Use  `json:"used_by"`
	Nodes  Nodes  `json:"nodes"`
	// Bytes is its size, where a node tells; 0: nobody does.
	Bytes int64 `json:"bytes,omitempty"`
	// Why is what is wrong, as sentences: mostWhys at most.
	Why []string `json:"why,omitempty"`
	// On is a node that has it, empty: none.
	On string `json:"-"`
}

// State is how far an image is on one node.
type State string

// States of an image on a node, the better ones last.
const (
	Waiting State = "waiting"
	Failing State = "failing"
	Pulling State = "pulling"
	Present State = "present"
)

// States are all there are.
var States = []State{Present, Pulling, Waiting, Failing}

// better orders states: a node on which several Pods pull an image is in the best.
var better = map[State]int{Waiting: 1, Failing: 2, Pulling: 3, Present: 4}

// In is how many nodes are in a state.
func (n Nodes) In(s State) int {
	switch s {
	case Present:
		return n.Present
	case Pulling:
		return n.Pulling
	case Failing:
		return n.Failing
	case Waiting:
		return n.Waiting
	}
	return 0
}

// mostWhys bounds what is told of one image.
const mostWhys = 3

// Of tells of each wanted image, in their order, how many nodes have it. placements are the
// images of each placement by its key. pods may hold others' Pods.
func Of(wanted []Wanted, placements map[string][]string, pods []corev1.Pod) []Image {
	found := map[string]map[string]onNode{}
	for i := range pods {
		pod := &pods[i]
		for _, image := range placements[pod.Labels[LabelPlacement]] {
			node := NodeOf(pod)
			if node == "" {
				continue
			}
			if found[image] == nil {
				found[image] = map[string]onNode{}
			}
			now := stateOf(pod, image)
			if former, known := found[image][node]; !known || better[now.state] > better[former.state] {
				found[image][node] = now
			}
		}
	}
	all := make([]Image, len(wanted))
	for i, w := range wanted {
		all[i] = sum(w, found[w.Image])
	}
	return all
}

// onNode is how an image is on a node, and why it is no better.
type onNode struct {
	state State
	why   string
}

func sum(w Wanted, nodes map[string]onNode) Image {
	image := Image{Image: w.Image, UsedBy: w.UsedBy, Why: slices.Clone(w.Why)}
	whys := map[string][]string{} // sentence → nodes
	for node, on := range nodes {
		image.Nodes.Total++
		switch on.state {
		case Present:
			image.Nodes.Present++
			if image.On == "" || node < image.On {
				image.On = node
			}
		case Pulling:
			image.Nodes.Pulling++
		case Failing:
			image.Nodes.Failing++
		case Waiting:
			image.Nodes.Waiting++
		}
		if on.why != "" {
			whys[on.why] = append(whys[on.why], node)
		}
	}
	image.Why = append(image.Why, sentences(whys)...)
	image.Why = image.Why[:min(len(image.Why), mostWhys)]
	return image
}
