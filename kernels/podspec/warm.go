package podspec

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/podrules"
)

// A warm Pod runs a kernel that nobody has. It belongs to its gateway, holds
// what a kernel of its class holds, is never idle, and counts against no quota.
// It is made for nobody in particular, or for a notebook, whose volumes it mounts:
// then the notebook and its user are part of its class, and no other kernel's Pod
// can ever be of that.
//
//	made ──▶ free ──▶ claimed ──▶ joined ──▶ told
//	           │          (admitter: one     (kernel reconciler:     (kernel reconciler:
//	           │           conditional write  the Pod's owner is      it knows variables,
//	           ▼           of the kernel)     the kernel)             directory and idle time;
//	         ended, when its kernelspec has                           the address is in
//	         changed or others need the room                          the status)
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

// WarmWant is what a warm Pod is to be.
type WarmWant struct {
	KernelSpec string
	// Policies are those of whom it is meant for.
	Policies []string
	// Notebook is whose it will be; nil: nobody's in particular.
	Notebook *v1alpha1.JupyterNotebook
	// Node is the only one that it may run on, if not empty: the notebook's volumes
	// are there and can be nowhere else. It makes no difference to the class.
	Node string
	// Why is the word for it that its annotation has, for people.
	Why string
}

// id tells wants of a gateway apart.
func (w WarmWant) id() string {
	notebook := types.UID("")
	if w.Notebook != nil {
		notebook = w.Notebook.UID
	}
	return fmt.Sprintf("%s %q %s %s", w.KernelSpec, w.Policies, notebook, w.Node)
}

// WarmFor is what LabelWarmFor of a warm Pod says, and the kernelspec that it is of.
func WarmFor(pod *corev1.Pod) (notebook, kernelSpec string) {
	for _, c := range pod.Spec.Containers {
		for _, v := range c.Env {
			if c.Name == v1alpha1.AgentContainer && v.Name == protocol.EnvKernelName {
				kernelSpec = v.Value
			}
		}
	}
	return pod.Labels[v1alpha1.LabelWarmFor], kernelSpec
}

// CanBecome reports whether a warm Pod can become the kernel of a notebook server, which
// always tells where the document is.
func (b *Built) CanBecome() bool { return b.Spec != nil && tellable(b.Spec.Spec.Language) }

// warmClass is the same for Pods that can stand in for each other: those that
// differ in nothing but whose they are, the kernel's id, and what agent and kernel
// can be told while they run. What a kernel can be told depends on its language. A
// Pod with the volumes of a notebook is good for that notebook and its user alone.
func (in Parts) warmClass(cfg Config, pod *corev1.Pod) string {
	if in.Kernel.Spec.Environment != "" {
		return "" // the Python of a warm Pod is that of its image
	}
	told := in.Spec != nil && tellable(in.Spec.Spec.Language)
	if told {
		bare, err := Build(cfg, in.untold()) // as a warm Pod is
		if err != nil {
			return "" // there is no such Pod
		}
		pod = bare
	}
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
			v1alpha1.AnnotationSafeToEvict, v1alpha1.AnnotationDoNotDisrupt, v1alpha1.AnnotationAgentKey: // the taking writes them
		default:
			annotations[key] = value
		}
	}
	spec := pod.Spec.DeepCopy()
	spec.ActiveDeadlineSeconds = nil // runs from the taking
	for i := range spec.Volumes {
		if v := &spec.Volumes[i]; v.Name == keyVolume && v.Secret != nil {
			v.Secret.SecretName = in.Gateway.Status.KeySecret + in.Gateway.Status.KeyID // a Pod of the key before is nobody's
		}
	}
	for i := range spec.Containers {
		if told {
			spec.Containers[i].Env = in.withoutTold(spec.Containers[i].Env)
		}
		spec.Containers[i].Env = slices.DeleteFunc(spec.Containers[i].Env, func(v corev1.EnvVar) bool { return v.Name == protocol.EnvRequest })
		for j := range spec.Containers[i].Env {
			switch v := &spec.Containers[i].Env[j]; v.Name {
			case protocol.EnvKernelID, protocol.EnvIdleTimeout, protocol.EnvCullConnected:
				v.Value = ""
			}
		}
	}
	whose := []string{}
	if in.Notebook != nil && len(podrules.Claims(in.Notebook)) > 0 {
		whose = []string{string(in.Notebook.UID), in.Kernel.Spec.User}
	}
	text, _ := json.Marshal(map[string]any{ // always encodes
		"namespace": pod.Namespace, "labels": labels, "annotations": annotations, "spec": spec, "whose": whose, "agent": protocol.Version,
	})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// BuildWarm makes a warm Pod of that name. Errors are those of Gather and Build.
func (b *Builder) BuildWarm(ctx context.Context, reader client.Reader, gw *v1alpha1.JupyterGateway, want WarmWant, name string) (*corev1.Pod, error) {
	in, err := b.gatherWarm(ctx, reader, gw, want, name)
	if err != nil {
		return nil, err
	}
	return buildWarm(b.cfg, in, want)
}

// Sample is such a Pod, of no name that is used; it is kept. Its class is in
// its annotation.
func (b *Builder) Sample(ctx context.Context, reader client.Reader, gw *v1alpha1.JupyterGateway, want WarmWant) (*Built, error) {
	in, err := b.gatherWarm(ctx, reader, gw, want, WarmPrefix+"sample")
	if err != nil {
		return nil, err
	}
	return keep(b, b.samples, SampleID(gw, want), in, func() (*corev1.Pod, error) { return buildWarm(b.cfg, in, want) })
}

// SampleID tells the samples of a builder apart.
func SampleID(gw *v1alpha1.JupyterGateway, want WarmWant) string {
	return string(gw.UID) + " " + want.id()
}

// gatherWarm gathers for a kernel that nobody has.
func (b *Builder) gatherWarm(ctx context.Context, reader client.Reader, gw *v1alpha1.JupyterGateway, want WarmWant, name string) (Parts, error) {
	k := &v1alpha1.JupyterKernel{}
	k.Name, k.Namespace, k.UID = name, gw.Namespace, types.UID(name)
	k.Spec = v1alpha1.JupyterKernelCRDSpec{Gateway: gw.Name, KernelSpec: want.KernelSpec, Policies: want.Policies, Run: 1}
	if want.Notebook != nil {
		k.Spec.Notebook, k.Spec.User = want.Notebook.Name, want.Notebook.Spec.User
	}
	in, err := Gather(ctx, b.cfg, reader, k)
	in.Gateway, in.Warm = gw, true
	if err == nil && want.Notebook != nil {
		in.Notebook = want.Notebook // as the choice was made
	}
	return in, err
}

func buildWarm(cfg Config, in Parts, want WarmWant) (*corev1.Pod, error) {
	pod, err := Build(cfg, in)
	if err != nil {
		return nil, err
	}
	delete(pod.Annotations, v1alpha1.AnnotationPolicies) // it is accounted to none
	// Nobody has it: nobody loses anything by its end, and it is booked to nobody.
	for _, key := range []string{v1alpha1.LabelTaken, v1alpha1.LabelNotebook, v1alpha1.LabelHubUsername} {
		delete(pod.Labels, key)
	}
	for _, key := range []string{v1alpha1.AnnotationSafeToEvict, v1alpha1.AnnotationDoNotDisrupt, v1alpha1.LabelHubUsername} {
		delete(pod.Annotations, key)
	}
	pod.Spec.ActiveDeadlineSeconds = nil
	pod.Annotations[v1alpha1.AnnotationWarm] = in.warmClass(cfg, pod)
	if want.Notebook != nil {
		pod.Labels[v1alpha1.LabelWarmFor] = podrules.ObjectLabel(want.Notebook.Name)
		pod.Annotations[v1alpha1.AnnotationWarmWhy] = want.Why
	}
	pin(&pod.Spec, want.Node)
	return pod, nil
}

// pin has a Pod run on one node and no other, if that is not empty.
func pin(spec *corev1.PodSpec, node string) {
	if node == "" {
		return
	}
	there := corev1.NodeSelectorRequirement{Key: nodeNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}
	spec.Affinity = spec.Affinity.DeepCopy()
	if spec.Affinity == nil {
		spec.Affinity = &corev1.Affinity{}
	}
	if spec.Affinity.NodeAffinity == nil {
		spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	affinity := spec.Affinity.NodeAffinity
	if affinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		affinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{}}}
	}
	terms := affinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	for i := range terms { // of which one has to hold
		terms[i].MatchFields = append(terms[i].MatchFields, there)
	}
}

// nodeNameField is how a node affinity names a node.
const nodeNameField = "metadata.name"

// PinnedTo is the node that a warm Pod was made for, empty if any will do.
func PinnedTo(spec *corev1.PodSpec) string {
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil || spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == nodeNameField && field.Operator == corev1.NodeSelectorOpIn && len(field.Values) == 1 {
				return field.Values[0]
			}
		}
	}
	return ""
}
