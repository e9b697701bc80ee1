package podrules

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// HomeVolume is the name of a home's volume in Pods.
const HomeVolume = "home"

const (
	sharedVolumePrefix = "shared-"
	maxVolumeName      = 63
)

// SharedVolume is the name in Pods of a shared volume of storage.
func SharedVolume(name string) string { return sharedVolumePrefix + name }

// Claim is a volume of a notebook, mounted at the same path in its Pod and in
// those of its kernels.
type Claim struct {
	// Volume is the volume's name in the notebook's Pod.
	Volume   string
	Name     string
	Path     string
	ReadOnly bool
	// SubPath is the directory of it that is mounted, empty for its root.
	SubPath string
}

// Claims are a notebook's volumes, its home first.
func Claims(nb *v1alpha1.JupyterNotebook) []Claim {
	storage := nb.Spec.Storage
	if storage == nil {
		return nil
	}
	var claims []Claim
	if storage.Home != nil {
		home := Claim{Volume: HomeVolume, Name: nb.HomeClaim(), Path: storage.Home.Path()}
		if static := storage.Home.Static; static != nil {
			home.SubPath = static.SubPath
		}
		claims = append(claims, home)
	}
	for _, shared := range storage.Shared {
		claims = append(claims, Claim{
			Volume: SharedVolume(shared.Name), Name: shared.Claim, Path: path.Clean(shared.MountPath), ReadOnly: shared.ReadOnly,
		})
	}
	return claims
}

// Mount gives a container of a Pod these volumes. A mount of its template at
// one of their paths gives way, and so does a volume of one of their names. It is called
// once for a Pod.
func Mount(pod *corev1.PodSpec, c *corev1.Container, claims []Claim) {
	c.VolumeMounts = slices.DeleteFunc(c.VolumeMounts, func(old corev1.VolumeMount) bool {
		return slices.ContainsFunc(claims, func(claim Claim) bool { return claim.Path == path.Clean(old.MountPath) })
	})
	pod.Volumes = slices.DeleteFunc(pod.Volumes, func(old corev1.Volume) bool {
		return slices.ContainsFunc(claims, func(claim Claim) bool { return claim.Volume == old.Name })
	})
	for _, claim := range claims {
		within(pod, claim)
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: claim.Volume, MountPath: claim.Path, ReadOnly: claim.ReadOnly, SubPath: claim.SubPath})
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: claim.Volume, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name, ReadOnly: claim.ReadOnly},
		}})
	}
}

// HomeTemplateFaults are about what a claim that is made for a home has besides; their paths
// are below the home.
func HomeTemplateFaults(home *v1alpha1.HomeVolume, ofPolicy bool) []Fault {
	faults := MetadataFaults(home.Labels, home.Annotations, ofPolicy)
	if home.Selector == nil {
		return faults
	}
	for _, f := range metavalidation.ValidateLabelSelector(home.Selector, metavalidation.LabelSelectorValidationOptions{}, field.NewPath("selector")) {
		faults = append(faults, Fault{Path: f.Field, Problem: f.ErrorBody()})
	}
	return faults
}

// StorageFault returns the first reason to refuse a notebook's storage, nil if
// there is none. Its path is below spec.storage.
func StorageFault(storage *v1alpha1.NotebookStorage) *Fault {
	if storage == nil {
		return nil
	}
	paths := map[string]bool{}
	pathFault := func(at, mountPath string) *Fault {
		clean := path.Clean(mountPath)
		switch {
		case !path.IsAbs(mountPath), clean == "/", strings.Contains(mountPath, ":"), strings.Contains(mountPath, ".."):
			return fault(at, fmt.Sprintf("%q must be absolute and not the root", mountPath))
		case clean == v1alpha1.TokenDirectory, strings.HasPrefix(clean, v1alpha1.TokenDirectory+"/"):
			return fault(at, fmt.Sprintf("%q is where tokens of the service account are", mountPath))
		case paths[clean]:
			return fault(at, fmt.Sprintf("%q is used twice", mountPath))
		}
		paths[clean] = true
		return nil
	}
	if home := storage.Home; home != nil {
		for _, f := range StaticHomeFaults(home, false) {
			f.Path = "home." + f.Path
			return &f
		}
		if home.Size.Sign() <= 0 && home.Static == nil {
			return fault("home.size", "must be positive")
		}
		if f := pathFault("home.mountPath", home.Path()); f != nil {
			return f
		}
		for _, f := range HomeTemplateFaults(home, false) {
			f.Path = "home." + f.Path
			return &f
		}
	}
	names := map[string]bool{}
	for i, shared := range storage.Shared {
		at := fmt.Sprintf("shared[%d]", i)
		if faults := validation.IsDNS1123Label(shared.Name); len(faults) > 0 || len(sharedVolumePrefix+shared.Name) > maxVolumeName || names[shared.Name] {
			return fault(at+".name", fmt.Sprintf("%q must be unique and a DNS label of at most %d characters", shared.Name, maxVolumeName-len(sharedVolumePrefix)))
		}
		names[shared.Name] = true
		if f := pathFault(at+".mountPath", shared.MountPath); f != nil {
			return f
		}
	}
	return nil
}
