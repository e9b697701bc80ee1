package podrules

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ConditionImageReplaced tells that another image runs than an object asks for, and
// ReasonImageMap that an ImageMap says so.
const (
	ConditionImageReplaced = "ImageReplaced"
	ReasonImageMap         = "ImageMap"
)

// ImageRule says what runs in place of images that cannot be had. From is an image with its
// tag or digest, a repository, which is all of its tags, or the beginning of names, with an
// asterisk at its end.
type ImageRule struct{ From, To string }

func (r ImageRule) means(image string) bool {
	if prefix, is := strings.CutSuffix(r.From, "*"); is {
		return strings.HasPrefix(image, prefix)
	}
	rest, is := strings.CutPrefix(image, r.From)
	return is && (rest == "" || rest[0] == '@' || rest[0] == ':' && !strings.Contains(rest, "/"))
}

// ImageMap is such rules; the first that means an image counts.
type ImageMap []ImageRule

// Of is what runs for an image.
func (m ImageMap) Of(image string) string {
	for _, rule := range m {
		if rule.means(image) {
			return rule.To
		}
	}
	return image
}

// Replace puts in place what runs for the images of a Pod.
func (m ImageMap) Replace(pod *corev1.PodSpec) {
	for _, list := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range list {
			list[i].Image = m.Of(list[i].Image)
		}
	}
}

// Told are the replacements among some images, as a sentence; empty: there are none.
func (m ImageMap) Told(images ...string) string {
	var told []string
	for _, image := range images {
		if to := m.Of(image); to != image {
			told = append(told, fmt.Sprintf("the image %s is replaced by %s", image, to))
		}
	}
	if len(told) == 0 {
		return ""
	}
	text := strings.Join(told, "; ")
	return strings.ToUpper(text[:1]) + text[1:] + ": the chart's values map it."
}

// Validate returns the first fault, with the rule's place.
func (m ImageMap) Validate() error {
	for i, rule := range m {
		switch {
		case rule.From == "" || strings.Contains(strings.TrimSuffix(rule.From, "*"), "*"):
			return fmt.Errorf("[%d].from: %q is no image, repository or beginning of names", i, rule.From)
		case rule.To == "" || strings.ContainsAny(rule.To, "* "):
			return fmt.Errorf("[%d].to: %q is no image", i, rule.To)
		}
	}
	return nil
}

// Images are those that a Pod names.
func Images(pod *corev1.PodSpec) (named []string) {
	for _, list := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range list {
			named = append(named, list[i].Image)
		}
	}
	return named
}
