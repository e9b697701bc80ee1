package hubapi

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/web"
)

// Cluster knows what there is to lend. It only informs: a form is shown
// without what it cannot say.
type Cluster interface {
	// Kernels are those that the allowance can use.
	Kernels(ctx context.Context, allowance groups.Allowance) ([]web.KernelChoice, error)
	// GPUs counts an extended resource, such as nvidia.com/gpu; nil when nobody counts.
	GPUs(ctx context.Context, resource string) (*web.GPUs, error)
}

const maxLanguages = 1024

// form renders into memory, so that a fault in it is a problem and not half a page.
func (a *API) form(c *gin.Context) error {
	server, err := key(c, "server")
	if err != nil {
		return err
	}
	// English is all there is so far; the parameter is part of the contract.
	if _, err := query(c, "lang", maxLanguages); err != nil {
		return err
	}
	ctx := c.Request.Context()
	allowed, err := a.allowance(ctx, server.User)
	if err != nil {
		return err
	}
	last, err := a.deps.Servers.LastOptions(ctx, server)
	if err != nil && !errors.Is(err, spawner.ErrNotFound) {
		return err
	}
	input := web.SpawnFormInput{Allowance: allowed}
	input.Values, input.Reset = forms.Prefill(allowed, last)
	a.addFacts(ctx, &input)
	var page bytes.Buffer
	if err := web.SpawnForm(web.NewSpawnFormView(input, web.English())).Render(ctx, &page); err != nil {
		return err
	}
	c.Header("Cache-Control", "no-store")
	c.Data(http.StatusOK, "text/html; charset=utf-8", page.Bytes())
	return nil
}

// addFacts adds what the cluster has at the moment.
func (a *API) addFacts(ctx context.Context, input *web.SpawnFormInput) {
	kernels, err := a.deps.Cluster.Kernels(ctx, input.Allowance)
	if err != nil {
		a.deps.Log.WarnContext(ctx, "form without kernels", "error", err)
	}
	input.Kernels = kernels
	resource := input.Allowance.Kernels.GPUResource
	if resource == "" {
		return
	}
	gpus, err := a.deps.Cluster.GPUs(ctx, resource)
	if err != nil {
		a.deps.Log.WarnContext(ctx, "form without free GPUs", "error", err)
		return
	}
	input.GPUs = gpus
}
