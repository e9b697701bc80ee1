package cluster

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const provisionerName = "elastichub.io/local-directory"

// directories provisions volumes as directories below root. They are `local`
// volumes rather than hostPath ones, since only for the former does a kubelet
// honour a Pod's fsGroup. A requested size is not enforced. A ReadWriteMany volume is on
// every node, as those of a file server; another is on the node of its first Pod, as a
// disk in that would be.
type directories struct {
	root string
}

func (d directories) Provision(_ context.Context, options controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if options.PVC.Spec.Selector != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("claims with a selector are not supported")
	}
	if mode := options.PVC.Spec.VolumeMode; mode != nil && *mode != corev1.PersistentVolumeFilesystem {
		return nil, controller.ProvisioningFinished, fmt.Errorf("volume mode %s is not supported", *mode)
	}
	dir := filepath.Join(d.root, options.PVName)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	// Any user of a container may write, whatever the umask here.
	if err := os.Chmod(dir, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes:                   options.PVC.Spec.AccessModes,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: options.PVC.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}},
			NodeAffinity:                  nodesOf(options),
		},
	}, controller.ProvisioningFinished, nil
}

// nodesOf are the nodes that a new volume is on.
func nodesOf(options controller.ProvisionOptions) *corev1.VolumeNodeAffinity {
	on := corev1.NodeSelectorRequirement{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{cmp.Or(options.SelectedNodeName, nodeName)}}
	if slices.Contains(options.PVC.Spec.AccessModes, corev1.ReadWriteMany) {
		on = corev1.NodeSelectorRequirement{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpExists}
	}
	return &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{on}}},
	}}
}

func (d directories) Delete(_ context.Context, volume *corev1.PersistentVolume) error {
	if volume.Spec.Local == nil || filepath.Dir(volume.Spec.Local.Path) != d.root || filepath.Base(volume.Spec.Local.Path) != volume.Name {
		return &controller.IgnoredError{Reason: "not a directory of this provisioner"}
	}
	return os.RemoveAll(volume.Spec.Local.Path)
}
