package spawner

import (
	"context"
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// A running server keeps the image it was started with. When its channel has
// another image meanwhile, or asks its users to move to another channel, the
// condition ImageCurrent says so, and nothing else happens.

// noteReplacedImages sets the condition ImageReplaced of a notebook for which other images
// run than its template names.
func (c *controller) noteReplacedImages(nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus) {
	told := ""
	if nb.Spec.Template != nil {
		told = c.cfg.Images.Told(podrules.Images(&nb.Spec.Template.Spec)...)
	}
	if told == "" {
		apimeta.RemoveStatusCondition(&next.Conditions, podrules.ConditionImageReplaced)
		return
	}
	setCondition(observed{notebook: nb, now: c.now()}, next, podrules.ConditionImageReplaced, true, podrules.ReasonImageMap, told)
}

// noteChannel sets the condition ImageCurrent of a server of the Hub.
func (c *controller) noteChannel(ctx context.Context, nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus) error {
	running := next.Phase == v1alpha1.NotebookReady || next.Phase == v1alpha1.NotebookStarting
	if nb.Spec.ImageChannel == "" || nb.Spec.KernelOptions == nil || nb.Spec.Template == nil || !running {
		apimeta.RemoveStatusCondition(&next.Conditions, ConditionImage)
		return nil
	}
	var policies []v1alpha1.GroupPolicy
	for _, name := range nb.Spec.KernelOptions.Policies {
		var p v1alpha1.GroupPolicy
		err := c.client.Get(ctx, client.ObjectKey{Namespace: c.cfg.Namespace, Name: name}, &p)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read policy: %w", err)
		}
		if err == nil {
			policies = append(policies, p)
		}
	}
	image := notebookContainer(&nb.Spec.Template.Spec).Image
	reason, message := imageCurrent(nb.Spec.ImageChannel, image, policies)
	setCondition(observed{notebook: nb, now: c.now()}, next, ConditionImage, reason == ReasonImageCurrent, reason, message)
	return nil
}

// imageCurrent compares a server's image with what its policies say of the
// channel now. A visible channel comes before a hidden one of the same id, then
// the order of the policies counts, as when the server was started.
func imageCurrent(id, image string, policies []v1alpha1.GroupPolicy) (Reason, string) {
	var channel *v1alpha1.ImageChannel
	for i := range policies {
		for j := range policies[i].Spec.Images {
			found := &policies[i].Spec.Images[j]
			if found.ID == id && (channel == nil || channel.Hidden && !found.Hidden) {
				channel = found
			}
		}
	}
	switch {
	case channel == nil:
		return ReasonImageWithdrawn, fmt.Sprintf("The image %s is no longer on offer. The server keeps it until it is stopped.", id)
	case channel.Redirect != nil && channel.Redirect.Message != "":
		return ReasonImageRedirected, channel.Redirect.Message
	case channel.Redirect != nil:
		return ReasonImageRedirected, fmt.Sprintf("Please choose the image %s instead of %s at the next start.", channel.Redirect.To, id)
	case channel.Image != image:
		return ReasonImageChanged, fmt.Sprintf("The image %s has a new version. Restart the server to use it.", id)
	default:
		return ReasonImageCurrent, ""
	}
}
