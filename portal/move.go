package portal

import (
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/acts"
)

const actionMove = acts.Move

// readMove reads where a kernel is to be moved, and why, as readWish does.
func (r *request) readMove() (to acts.Place, w wish, err error) {
	var sent *struct {
		To     acts.Place `json:"to"`
		Reason string     `json:"reason"`
	}
	if !r.isAPI() {
		to, w.Reason = acts.Place(r.PostForm.Get("to")), r.PostForm.Get("reason")
	} else if err = r.readJSON(&sent); err == nil && sent != nil {
		to, w.Reason = sent.To, sent.Reason
	}
	if err == nil {
		w.Reason, err = readableReason(w.Reason)
	}
	return to, w, err
}

// move moves a kernel in the queue. Others wait longer for it, so that it takes a reason
// always. It leads to the queue.
func (p *Portal) move(r *request) (mine bool, err error) {
	k, _, _, err := p.kernelOf(r)
	if err != nil {
		return false, err
	}
	to, w, err := r.readMove()
	if err != nil {
		return false, err
	}
	if w.Reason == "" {
		return false, errNoReason
	}
	var all v1alpha1.JupyterKernelList
	if err := p.deps.Client.List(r.Context(), &all, client.InNamespace(p.config.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return false, err
	}
	changes, err := acts.MoveKernel(k, all.Items, to, r.by(), w.Reason)
	if err != nil {
		return false, err
	}
	return false, p.change(r, k, actionMove, w, changes, "to", to)
}
