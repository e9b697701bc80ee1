package prepull

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/prepull/imagestate"
)

const (
	// askedAgain is how long it takes until nodes are asked again for what none has told.
	askedAgain = time.Minute
	// nodesAsked bounds the nodes that are read at a time.
	nodesAsked = 3
)

// sizes remembers how large images are, as nodes that have them tell. A node tells of fifty
// images at most (the kubelet's nodeStatusMaxImages): of some, nobody may ever know.
type sizes struct {
	nodes client.Reader
	now   func() time.Time

	mu    sync.Mutex
	bytes map[string]int64
	asked time.Time
}

func newSizes(nodes client.Reader) *sizes {
	return &sizes{nodes: nodes, now: time.Now, bytes: map[string]int64{}}
}

// tell fills in what is known.
func (s *sizes) tell(ctx context.Context, images []imagestate.Image) {
	if s.nodes == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ask(ctx, images)
	for i := range images {
		images[i].Bytes = s.bytes[images[i].Image]
	}
}

// ask reads some of the nodes that have images of which no size is known. A node that cannot
// be read tells nothing: sizes are left out then.
func (s *sizes) ask(ctx context.Context, images []imagestate.Image) {
	var where []string
	for _, image := range images {
		if _, known := s.bytes[image.Image]; !known && image.On != "" && !slices.Contains(where, image.On) {
			where = append(where, image.On)
		}
	}
	if len(where) == 0 || s.now().Sub(s.asked) < askedAgain {
		return
	}
	s.asked = s.now()
	for _, name := range where[:min(len(where), nodesAsked)] {
		var node corev1.Node
		if s.nodes.Get(ctx, client.ObjectKey{Name: name}, &node) != nil {
			continue
		}
		for _, image := range images {
			if bytes := sizeOn(&node, image.Image); bytes > 0 {
				s.bytes[image.Image] = bytes
			}
		}
	}
}

// sizeOn is how large an image is on a node; 0: it does not tell.
func sizeOn(node *corev1.Node, image string) int64 {
	full := fullName(image)
	for _, there := range node.Status.Images {
		if slices.Contains(there.Names, image) || slices.Contains(there.Names, full) {
			return there.SizeBytes
		}
	}
	return 0
}

// fullName is how a node calls an image that Docker Hub's rules make short: "python" is
// docker.io/library/python:latest.
func fullName(image string) string {
	name, rest := image, ""
	if i := strings.IndexByte(name, '@'); i >= 0 {
		name, rest = name[:i], name[i:]
		if slash, colon := strings.LastIndexByte(name, '/'), strings.LastIndexByte(name, ':'); colon > slash {
			name = name[:colon]
		}
	} else if slash, colon := strings.LastIndexByte(name, '/'), strings.LastIndexByte(name, ':'); colon > slash {
		name, rest = name[:colon], name[colon:]
	} else {
		rest = ":latest"
	}
	host, _, several := strings.Cut(name, "/")
	switch {
	case !several:
		name = "docker.io/library/" + name
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		name = "docker.io/" + name
	}
	return name + rest
}
