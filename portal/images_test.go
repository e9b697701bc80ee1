package portal_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/prepull/imagestate"
)

// TestImages: an administrator sees how far images are, in the API and in the cluster's
// page; nobody sees any where none are pulled beforehand.
func TestImages(t *testing.T) {
	h := newHarness(t)
	read := func() (code int, body string) {
		w := h.call("root", http.MethodGet, "api/v1/images", "")
		return w.Code, w.Body.String()
	}
	page := func() string { return h.signIn("root").open("cluster").Body.String() }
	code, body := read()
	assert.Equal(t, http.StatusOK, code)
	assert.JSONEq(t, `{"enabled": false, "items": []}`, body)
	assert.NotContains(t, page(), "Images on nodes")

	var fault error
	h.portal.ShowImages(func(context.Context) ([]imagestate.Image, error) {
		return []imagestate.Image{{
			Image: "lab:4", UsedBy: []imagestate.Use{{Policy: "staff", Channel: "stable"}, {KernelSpec: "python"}, {Service: true}},
			Nodes: imagestate.Nodes{Total: 3, Present: 1, Failing: 2}, Bytes: 7, Why: []string{"Node a: It cannot be pulled (ErrImagePull): <none>."}, On: "b",
		}}, fault
	})
	code, body = read()
	assert.Equal(t, http.StatusOK, code)
	assert.JSONEq(t, `{"enabled": true, "items": [{"image": "lab:4", "used_by": [{"policy": "staff", "channel": "stable"}, {"kernelspec": "python"}, {"service": true}],
		"nodes": {"total": 3, "present": 1, "pulling": 0, "waiting": 0, "failing": 2}, "bytes": 7, "why": ["Node a: It cannot be pulled (ErrImagePull): <none>."]}]}`, body)
	shown := page()
	assert.Contains(t, shown, "Images on nodes")
	assert.Contains(t, shown, "fails on 2")
	assert.Contains(t, shown, "(ErrImagePull): &lt;none&gt;.")

	fault = errors.New("the cache is not there yet")
	code, body = read()
	assert.Equal(t, http.StatusInternalServerError, code)
	assert.NotContains(t, body, fault.Error())
	assert.Contains(t, page(), "How far the images are is not known at the moment.")
}
