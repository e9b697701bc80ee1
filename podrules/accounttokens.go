package podrules

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// AccountTokenVolume is the volume with the tokens of a Pod's service account. No
// template may have one of its name, or mount it.
const AccountTokenVolume = "elastichub-account-tokens"

// GivesTokens reports whether the owner of an account lets Pods have tokens of it for an
// audience.
func GivesTokens(account *corev1.ServiceAccount, audience string) bool {
	for named := range strings.SplitSeq(account.Annotations[v1alpha1.AnnotationTokenAudiences], ",") {
		if named = strings.TrimSpace(named); named != "" && named == audience {
			return true
		}
	}
	return false
}

// WithheldToken says why an account's owner keeps a Pod from one of these tokens, empty
// if that is not so: the end of a sentence whose subject is the account.
func WithheldToken(account *corev1.ServiceAccount, tokens []v1alpha1.ServiceAccountToken) string {
	for _, token := range tokens {
		if !GivesTokens(account, token.Audience) {
			return fmt.Sprintf("gives no token for the audience %s: its owner has not named that in the annotation %s", token.Audience, v1alpha1.AnnotationTokenAudiences)
		}
	}
	return ""
}

// AccountTokensFault returns the first reason to refuse tokens, nil if there is none. Its
// path is below serviceAccountTokens. apiAudiences are those of the cluster's API server,
// as far as they are known.
func AccountTokensFault(tokens []v1alpha1.ServiceAccountToken, apiAudiences []string) *Fault {
	seen := map[string]bool{}
	for i, token := range tokens {
		if field, problem := token.Problem(apiAudiences); problem != "" {
			return fault(fmt.Sprintf("[%d].%s", i, field), problem)
		}
		if seen[token.Path] {
			return fault(fmt.Sprintf("[%d].path", i), fmt.Sprintf("%q is used twice", token.Path))
		}
		seen[token.Path] = true
	}
	return nil
}

// MountAccountTokens gives one container of a Pod tokens of the account that the Pod runs
// as. A mount of its template at their place gives way.
func MountAccountTokens(pod *corev1.PodSpec, c *corev1.Container, tokens []v1alpha1.ServiceAccountToken) {
	if len(tokens) == 0 {
		return
	}
	sources := make([]corev1.VolumeProjection, 0, len(tokens))
	for _, token := range tokens {
		seconds := token.ExpirationSeconds
		if seconds == 0 {
			seconds = v1alpha1.DefaultTokenSeconds
		}
		sources = append(sources, corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
			Audience: token.Audience, ExpirationSeconds: ptr.To(seconds), Path: token.Path,
		}})
	}
	c.VolumeMounts = slices.DeleteFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return path.Clean(m.MountPath) == v1alpha1.TokenDirectory })
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: AccountTokenVolume, MountPath: v1alpha1.TokenDirectory, ReadOnly: true})
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: AccountTokenVolume, VolumeSource: corev1.VolumeSource{
		Projected: &corev1.ProjectedVolumeSource{Sources: sources},
	}})
}

// accountTokenVolumeFault is about templates that would have the tokens elsewhere.
func accountTokenVolumeFault(t *corev1.PodTemplateSpec) *Fault {
	const problem = AccountTokenVolume + " is reserved"
	for i := range t.Spec.Volumes {
		if t.Spec.Volumes[i].Name == AccountTokenVolume {
			return fault(fmt.Sprintf("spec.volumes[%d].name", i), problem)
		}
	}
	for _, list := range []struct {
		at         string
		containers []corev1.Container
	}{{"spec.initContainers", t.Spec.InitContainers}, {"spec.containers", t.Spec.Containers}} {
		for i := range list.containers {
			for j, m := range list.containers[i].VolumeMounts {
				if m.Name == AccountTokenVolume {
					return fault(fmt.Sprintf("%s[%d].volumeMounts[%d].name", list.at, i, j), problem)
				}
			}
		}
	}
	return nil
}
