package podrules

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func TestStaticHomesThatAreRefused(t *testing.T) {
	t.Parallel()
	for subPath, ofPolicy := range map[string][2]bool{ // whether a notebook and a policy may have it
		"alice": {true, false}, "{username}": {true, true}, "homes/{safe_username}": {true, true}, "u-{escaped_username}/home": {true, true},
		"{username}/{servername}": {true, true}, "a/{username}/b/{servername}": {true, true},
		"": {}, ".": {}, "/alice": {}, "..": {}, "a/../b": {}, "../{username}": {}, "a//{username}": {}, "{username}/": {}, "a\\{username}": {}, "{username}\x00": {},
		"{servername}/{username}": {true, false}, "{username}-{servername}": {true, false}, "{username}/{servername}/x": {true, false},
		"{username}/{username}": {true, false}, "{username}{escaped_username}": {true, false}, "{servername}": {true, false}, "{unescaped_username}": {true, false}, "{legacy_escape_username}/{username}": {true, false},
	} {
		home := &v1alpha1.HomeVolume{Static: &v1alpha1.StaticHome{Claim: "homes", SubPath: subPath}}
		for i, policy := range []bool{false, true} {
			assert.Equal(t, ofPolicy[i], len(StaticHomeFaults(home, policy)) == 0, "%q %v %v", subPath, policy, StaticHomeFaults(home, policy))
		}
	}
	class := "fast"
	full := &v1alpha1.HomeVolume{
		Static: &v1alpha1.StaticHome{Claim: "Homes", SubPath: "alice"}, Claim: "x", Size: resource.MustParse("1Gi"), StorageClassName: &class,
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, OnRemoval: v1alpha1.HomeDelete, MountPath: "/home/x",
		Labels: map[string]string{"a": "b"},
	}
	var at []string
	for _, f := range StaticHomeFaults(full, false) {
		at = append(at, f.Path)
	}
	assert.Equal(t, []string{"static.claim", "claim", "size", "storageClassName", "accessModes", "onRemoval", "labels"}, at)
	f := StorageFault(&v1alpha1.NotebookStorage{Home: full})
	if assert.NotNil(t, f) {
		assert.Equal(t, "home.static.claim", f.Path)
	}
	assert.Nil(t, StorageFault(&v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Static: &v1alpha1.StaticHome{Claim: "homes", SubPath: "alice"}}}))
}

// TestNoContainerSeesMoreOfAStaticHome: whatever mounts the volume by its name gets the directory
// alone.
func TestNoContainerSeesMoreOfAStaticHome(t *testing.T) {
	t.Parallel()
	pod := &corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "first", VolumeMounts: []corev1.VolumeMount{{Name: "home", MountPath: "/h"}, {Name: "other", MountPath: "/o"}}}},
		Containers: []corev1.Container{
			{Name: "notebook", VolumeMounts: []corev1.VolumeMount{{Name: "home", MountPath: "/cache", SubPath: ".cache"}, {Name: "x", MountPath: "/home/jovyan"}}},
			{Name: "beside", VolumeMounts: []corev1.VolumeMount{{Name: "home", MountPath: "/h", SubPathExpr: "$(DIR)"}}},
		},
		Volumes: []corev1.Volume{{Name: "home"}},
	}
	nb := &v1alpha1.JupyterNotebook{}
	nb.Spec.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Static: &v1alpha1.StaticHome{Claim: "homes", SubPath: "all/ali$ce"}}}
	Mount(pod, &pod.Containers[0], Claims(nb))
	assert.Equal(t, []corev1.VolumeMount{{Name: "home", MountPath: "/h", SubPath: "all/ali$ce"}, {Name: "other", MountPath: "/o"}}, pod.InitContainers[0].VolumeMounts)
	assert.Equal(t, []corev1.VolumeMount{{Name: "home", MountPath: "/cache", SubPath: "all/ali$ce/.cache"}, {Name: "home", MountPath: "/home/jovyan", SubPath: "all/ali$ce"}}, pod.Containers[0].VolumeMounts)
	assert.Equal(t, []corev1.VolumeMount{{Name: "home", MountPath: "/h", SubPathExpr: "all/ali$$ce/$(DIR)"}}, pod.Containers[1].VolumeMounts)
	assert.Equal(t, "homes", pod.Volumes[0].PersistentVolumeClaim.ClaimName)
	assert.True(t, Shareable(nb), "homes of others are in it, on other nodes")
}
