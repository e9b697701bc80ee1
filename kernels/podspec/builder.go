package podspec

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Built is what a kernel's Pod comes to. It may be kept, and is not to be changed.
type Built struct {
	Parts
	// Pod is not created yet; create a copy of it.
	Pod *corev1.Pod
	// Extended is what the Pod takes of extended resources.
	Extended map[string]int64
	// Class is that of the warm Pods that can stand in for it; empty for a
	// kernel that is a complete template or in an environment of its user's own.
	Class func() string
}

// Builder builds the Pods of kernels, and keeps each until anything changes that
// it is made from or Forget is called: one that waits is built once.
type Builder struct {
	cfg Config

	mu      sync.Mutex
	kept    map[types.UID]keptBuild // by kernel
	samples map[string]keptBuild    // by gateway and what it wants
}

type keptBuild struct {
	version string
	built   *Built
	err     error
}

// NewBuilder makes a builder that has built nothing yet.
func NewBuilder(cfg Config) *Builder {
	return &Builder{cfg: cfg, kept: map[types.UID]keptBuild{}, samples: map[string]keptBuild{}}
}

// Gather reads what a kernel's Pod is made from; see the function Gather.
func (b *Builder) Gather(ctx context.Context, reader client.Reader, k *v1alpha1.JupyterKernel) (Parts, error) {
	return Gather(ctx, b.cfg, reader, k)
}

// Config is what Pods are made with.
func (b *Builder) Config() Config { return b.cfg }

// Build gathers and builds. Errors are those of both.
func (b *Builder) Build(ctx context.Context, reader client.Reader, k *v1alpha1.JupyterKernel) (*Built, error) {
	in, err := Gather(ctx, b.cfg, reader, k)
	if err != nil {
		return nil, err
	}
	return b.BuildFrom(in)
}

// BuildDerived is Build for a kernel that Derive returned, perhaps with other
// policies.
func (b *Builder) BuildDerived(ctx context.Context, reader client.Reader, k *v1alpha1.JupyterKernel) (*Built, error) {
	in, err := gatherDerived(ctx, b.cfg, reader, k)
	if err != nil {
		return nil, err
	}
	return b.BuildFrom(in)
}

// BuildFrom builds the Pod of a kernel from what was gathered.
func (b *Builder) BuildFrom(in Parts) (*Built, error) {
	return keep(b, b.kept, in.Kernel.UID, in, func() (*corev1.Pod, error) { return Build(b.cfg, in) })
}

// Forget drops what is kept for a kernel.
func (b *Builder) Forget(kernel types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.kept, kernel)
}

// IdleRule is when the kernel is parked, which is not a complete template.
func (b *Builder) IdleRule(in Parts) IdleRule { return IdleRuleOf(b.cfg, in) }

// StateOf is how a kernel's state is kept.
func (b *Builder) StateOf(in Parts) Keep { return KeepOf(b.cfg, in) }

// Keep drops what is kept for kernels that are gone.
func (b *Builder) Keep(exists func(kernel types.UID) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.kept, func(kernel types.UID, _ keptBuild) bool { return !exists(kernel) })
}

// KeepSamples drops the samples but those of some SampleIDs.
func (b *Builder) KeepSamples(wanted map[string]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.samples, func(id string, _ keptBuild) bool { return !wanted[id] })
}

func keep[ID comparable](b *Builder, builds map[ID]keptBuild, id ID, in Parts, build func() (*corev1.Pod, error)) (*Built, error) {
	version := in.version()
	b.mu.Lock()
	kept, known := builds[id]
	b.mu.Unlock()
	if known && kept.version == version {
		return kept.built, kept.err
	}
	kept = keptBuild{version: version}
	pod, err := build()
	if err != nil {
		kept.err = err
	} else {
		kept.built = &Built{Parts: in, Pod: pod, Extended: Extended(&pod.Spec), Class: sync.OnceValue(func() string {
			if in.Spec == nil {
				return ""
			}
			return in.warmClass(b.cfg, pod)
		})}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	builds[id] = kept
	return kept.built, kept.err
}

// version changes with everything that Build looks at.
func (in Parts) version() string {
	var text strings.Builder
	note := func(o client.Object) {
		fmt.Fprintf(&text, "%s/%d/", o.GetUID(), o.GetGeneration())
		if o.GetGeneration() == 0 {
			fmt.Fprintf(&text, "%s/", o.GetResourceVersion()) // nobody counts its generations
		}
	}
	note(in.Kernel)
	fmt.Fprintf(&text, "run %d/loads %d/", runOf(in.Kernel), in.loads())
	if in.Gateway != nil {
		note(in.Gateway)
		text.WriteString(in.Gateway.Status.KeySecret + "/" + in.Gateway.Status.KeyID)
	}
	text.WriteString("/spec ")
	if in.Spec != nil {
		note(in.Spec)
	}
	text.WriteString("/template ")
	if in.Template != nil {
		note(in.Template)
	}
	text.WriteString("/notebook ")
	if in.Notebook != nil {
		note(in.Notebook)
	}
	fmt.Fprintf(&text, "/user %q/policies %q/account %q %+v", in.Kernel.Spec.User, in.Kernel.Spec.Policies, in.Account, in.AccountTokens)
	for i := range in.Policies {
		note(&in.Policies[i])
	}
	return text.String()
}
