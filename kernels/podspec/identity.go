package podspec

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

func BelongsTo(o client.Object, uid types.UID) bool {
	owner := metav1.GetControllerOf(o)
	return owner != nil && owner.UID == uid
}

func IsKernelPod(pod *corev1.Pod) bool {
	return pod.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy && pod.Labels[v1alpha1.LabelComponent] == v1alpha1.ComponentKernel
}

var Selector = client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelComponent: v1alpha1.ComponentKernel}

// KernelLabels identify the Pod and the Secret of one run.
func KernelLabels(k *v1alpha1.JupyterKernel, run int64) map[string]string {
	labels := map[string]string{
		v1alpha1.LabelManagedBy:      v1alpha1.ManagedBy,
		v1alpha1.LabelName:           v1alpha1.AppName,
		v1alpha1.LabelComponent:      v1alpha1.ComponentKernel,
		v1alpha1.LabelComponentShort: v1alpha1.ComponentKernel,
		v1alpha1.LabelKernel:         podrules.ObjectLabel(k.Name),
		v1alpha1.LabelRun:            strconv.FormatInt(run, 10),
	}
	for key, value := range map[string]string{
		v1alpha1.LabelGateway: podrules.ObjectLabel(k.Spec.Gateway), v1alpha1.LabelNotebook: podrules.ObjectLabel(k.Spec.Notebook),
		v1alpha1.LabelHubUsername: podrules.LabelValue(k.Spec.User),
	} {
		if value != "" {
			labels[key] = value
		}
	}
	return labels
}

func ownerReference(k *v1alpha1.JupyterKernel) metav1.OwnerReference {
	return *metav1.NewControllerRef(k, v1alpha1.GroupVersion.WithKind("JupyterKernel"))
}

// SelectorOf selects the Pods of a kernel, of this release and the former.
func SelectorOf(kernel string) client.MatchingLabelsSelector {
	selector := labels.SelectorFromSet(labels.Set(Selector))
	names := slices.Compact([]string{podrules.ObjectLabel(kernel), formerLabel(kernel)})
	if named, err := labels.NewRequirement(v1alpha1.LabelKernel, selection.In, names); err == nil {
		selector = selector.Add(*named)
	}
	return client.MatchingLabelsSelector{Selector: selector}
}

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
