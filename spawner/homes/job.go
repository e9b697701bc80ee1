package homes

import (
	"cmp"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

const (
	// archiveTries is how many Pods try to archive a home before an administrator is told.
	archiveTries = 4
	// archiveTime bounds all of them together.
	archiveTime = 24 * time.Hour
	// homeMount and archivesMount are where these are in a Pod.
	homeMount     = "/home/of"
	archivesMount = "/archives"
	nameDigits    = 12
)

// jobName is the same for the same home, so that no two archives of it are made at a time.
func jobName(h Home) string {
	return "home-archive-" + podrules.Digest(nameDigits, string(h.Object().GetUID()))
}

// archiveName is the name of an archive without its ending: whose home, which one, from when.
func archiveName(h Home, begun time.Time) string {
	return podrules.Readable(h.Object().GetAnnotations()[v1alpha1.LabelHubUsername], 40) + "-" +
		podrules.Digest(nameDigits, string(h.Object().GetUID())) + "-" + begun.UTC().Format("20060102t150405z")
}

// JobFor is what archives a home: the service's binary, as the user that the home's servers ran as,
// which may read the home and write archives, and nothing else in the cluster. It goes with the home's object.
func JobFor(cfg Config, h Home, begun time.Time) *batchv1.Job {
	kind := "PersistentVolumeClaim"
	if h.Note != nil {
		kind = "ConfigMap"
	}
	labels := map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelName: v1alpha1.AppName, v1alpha1.LabelComponent: v1alpha1.ComponentArchive}
	claim, directory := h.Volume()
	name := archiveName(h, begun)
	volume := func(name, claim string) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}
	}
	spec := corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsUser: ptr.To(ptr.Deref(h.runAs, podrules.DefaultUID)), RunAsGroup: ptr.To(podrules.DefaultGID),
		},
		Containers: []corev1.Container{{
			Name: "archive", Image: cfg.Image, ImagePullPolicy: cmp.Or(cfg.PullPolicy, corev1.PullIfNotPresent),
			Command:         []string{"/elastichub", "archive-home", "--home", homeMount, "--to", archivesMount, "--name", name},
			SecurityContext: &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr.To(true)},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
				Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("512Mi")},
			},
			VolumeMounts: []corev1.VolumeMount{
				{Name: "home", MountPath: homeMount, SubPath: directory, ReadOnly: true},
				{Name: "archives", MountPath: archivesMount},
			},
			TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		}},
		Volumes: []corev1.Volume{volume("home", claim), volume("archives", cfg.ArchiveClaim)},
	}
	for _, secret := range cfg.PullSecrets {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: secret})
	}
	podrules.Harden(&spec)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cfg.Namespace, Name: jobName(h), Labels: labels,
			Annotations: map[string]string{v1alpha1.AnnotationArchived: begun.UTC().Format(time.RFC3339) + " " + name + ".tar.zst"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: kind, Name: h.Object().GetName(), UID: h.Object().GetUID(),
			}},
		},
		Spec: batchv1.JobSpec{
			BackoffLimit: ptr.To[int32](archiveTries - 1), ActiveDeadlineSeconds: ptr.To(int64(archiveTime.Seconds())),
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
		},
	}
}
