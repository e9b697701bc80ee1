package podspec

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// A warm Pod runs a kernel that is nobody's. It belongs to its gateway, holds
// what a kernel of its class holds, is never idle, and counts against no quota.
//
//	made ──▶ free ──▶ claimed ──▶ joined ──▶ told
//	           │          (admitter: one     (kernel reconciler:     (kernel reconciler:
//	           │           conditional write  the Pod's owner is      it knows variables and
//	           ▼           of the kernel)     the kernel)             idle time; the address
//	         ended, when its kernelspec has                           is in the status)
//	         changed or others need the room
//
// A claim is in the kernel's status (warm, without startTime) and can be taken
// back: nobody but the agent's maker has spoken to it. Joining cannot: a Pod
// whose owner is a kernel ends with that run. The gateway learns the address
// only after that, so no Pod in which somebody has run code is ever free, and
// the owner reference, written over the version that was read, is what makes
// two kernels of one Pod impossible.

// WarmPrefix begins the names of warm Pods.
const WarmPrefix = "warm-"

// NewWarmName is unlike any kernel's UID, and never the same twice.
func NewWarmName() string { return WarmPrefix + uuid.NewString() }

// IsWarm reports whether a Pod belongs to a gateway's pool.
func IsWarm(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	return owner != nil && owner.Kind == "JupyterGateway" && pod.Annotations[v1alpha1.AnnotationWarm] != ""
}

// MadeWarm reports whether a Pod was made for the pool, whoever has it now.
func MadeWarm(pod *corev1.Pod) bool { return pod.Annotations[v1alpha1.AnnotationWarm] != "" }

// warmClass is the same for Pods that can stand in for each other: those that
// differ in nothing but whose they are, the kernel's id, and what agent and kernel
// can be told while they run. What a kernel can be told depends on its language.
func (in Parts) warmClass(pod *corev1.Pod) string {
	labels, annotations := map[string]string{}, map[string]string{}
	for key, value := range pod.Labels {
		switch key {
		case v1alpha1.LabelKernel, v1alpha1.LabelRun, v1alpha1.LabelNotebook, v1alpha1.LabelHubUsername, v1alpha1.LabelTaken:
		default:
			labels[key] = value
		}
	}
	for key, value := range pod.Annotations {
		switch key {
		case v1alpha1.LabelHubUsername, v1alpha1.AnnotationPolicies, v1alpha1.AnnotationIdle, v1alpha1.AnnotationWarm,
			v1alpha1.AnnotationSafeToEvict, v1alpha1.AnnotationDoNotDisrupt: // the taking writes them
		default:
			annotations[key] = value
		}
	}
	spec := pod.Spec.DeepCopy()
	spec.ActiveDeadlineSeconds = nil // runs from the taking
	for i := range spec.Volumes {
		if v := &spec.Volumes[i]; v.Name == keyVolume && v.Secret != nil {
			v.Secret.SecretName = ""
		}
	}
	for i := range spec.Containers {
		if tellable(in.Spec.Spec.Language) {
			spec.Containers[i].Env = in.withoutTold(spec.Containers[i].Env)
		}
		for j := range spec.Containers[i].Env {
			switch v := &spec.Containers[i].Env[j]; v.Name {
			case protocol.EnvKernelID, protocol.EnvIdleTimeout, protocol.EnvCullConnected:
				v.Value = ""
			}
		}
	}
	text, _ := json.Marshal(map[string]any{"namespace": pod.Namespace, "labels": labels, "annotations": annotations, "spec": spec}) // always encodes
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// BuildWarm makes a warm Pod of that name. Errors are those of Gather and Build.
func (b *Builder) BuildWarm(ctx context.Context, reader client.Reader, gw *v1alpha1.JupyterGateway, want v1alpha1.WarmKernel, name string) (*corev1.Pod, error) {
	in, err := b.gatherWarm(ctx, reader, gw, want, name)
	if err != nil {
		return nil, err
	}
	return buildWarm(b.cfg, in)
}

// Sample is such a Pod, of no name that is used; it is kept. Its class is in
// its annotation.
func (b *Builder) Sample(ctx context.Context, reader client.Reader, gw *v1alpha1.JupyterGateway, want v1alpha1.WarmKernel) (*Built, error) {
	in, err := b.gatherWarm(ctx, reader, gw, want, WarmPrefix+"sample")
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("%s %s %q", gw.UID, want.KernelSpec, want.Policies)
	return keep(b, b.samples, id, in, func() (*corev1.Pod, error) { return buildWarm(b.cfg, in) })
}

// gatherWarm gathers for a kernel that nobody has.
func (b *Builder) gatherWarm(ctx context.Context, reader client.Reader, gw *v1alpha1.JupyterGateway, want v1alpha1.WarmKernel, name string) (Parts, error) {
	k := &v1alpha1.JupyterKernel{}
	k.Name, k.Namespace, k.UID = name, gw.Namespace, types.UID(name)
	k.Spec = v1alpha1.JupyterKernelCRDSpec{Gateway: gw.Name, KernelSpec: want.KernelSpec, Policies: want.Policies, Run: 1}
	in, err := Gather(ctx, b.cfg, reader, k)
	in.Gateway, in.Warm = gw, true
	return in, err
}

func buildWarm(cfg Config, in Parts) (*corev1.Pod, error) {
	pod, err := Build(cfg, in)
	if err != nil {
		return nil, err
	}
	delete(pod.Annotations, v1alpha1.AnnotationPolicies) // it is accounted to none
	// Nobody loses anything by its end.
	delete(pod.Labels, v1alpha1.LabelTaken)
	delete(pod.Annotations, v1alpha1.AnnotationSafeToEvict)
	delete(pod.Annotations, v1alpha1.AnnotationDoNotDisrupt)
	pod.Spec.ActiveDeadlineSeconds = nil
	pod.Annotations[v1alpha1.AnnotationWarm] = in.warmClass(pod)
	return pod, nil
}
