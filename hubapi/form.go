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

// Cluster knows what there is to lend.
type Cluster = web.Lender

// maxLanguages bounds an Accept-Language value.
const maxLanguages = 1024

// form shows the form with the last choices.
func (a *API) form(c *gin.Context) error { return a.formWith(c, nil) }

// formWith shows the form with the choices of a link, or else the last ones.
func (a *API) formWith(c *gin.Context, link map[string][]string) error {
	server, err := key(c, "server")
	if err != nil {
		return err
	}
	languages, err := query(c, "lang", maxLanguages)
	if err != nil {
		return err
	}
	ctx, msg := c.Request.Context(), web.ForLanguages(languages)
	allowed, err := a.allowance(ctx, server.User)
	if err != nil {
		return translated(err, msg)
	}
	last, err := a.deps.Servers.State(ctx, server)
	if err != nil && !errors.Is(err, spawner.ErrNotFound) {
		return err
	}
	input := web.SpawnFormInput{Allowance: allowed, AutoStop: (*web.AutoStop)(last.AutoStop)}
	input.Values, input.Reset, input.Faults = forms.Linked(allowed, last.Options, link)
	page, err := a.page(ctx, server, input, msg)
	if err != nil {
		return err
	}
	c.Header("Cache-Control", "no-store")
	c.Header("Content-Language", msg.Lang)
	c.Data(http.StatusOK, "text/html; charset=utf-8", page)
	return nil
}

// offered is an allowance without the hidden channels that were not the server's
// last choice.
func (a *API) offered(ctx context.Context, server spawner.Key, allowed groups.Allowance) (groups.Allowance, error) {
	last, err := a.deps.Servers.State(ctx, server)
	if err != nil && !errors.Is(err, spawner.ErrNotFound) {
		return groups.Allowance{}, err
	}
	return forms.Offered(allowed, last.Options), nil
}

// translated says what is the reader's to know in their language.
func translated(err error, msg *web.Messages) error {
	if detail, ok := msg.Refusal(err); ok {
		return &inLanguage{detail, err}
	}
	return err
}

// decodeOptions turns a submitted form into user_options. A refusal carries
// the form as it was entered, in its own language, if that is asked for.
func (a *API) decodeOptions(c *gin.Context) error {
	server, err := key(c, "server")
	if err != nil {
		return err
	}
	again, err := flag(c, "form")
	if err != nil {
		return err
	}
	var b formBody
	if err := a.body(c, &b); err != nil {
		return err
	}
	if err := a.present(server.User, b.SignIn); err != nil {
		return err
	}
	ctx, msg := c.Request.Context(), web.ForLanguages(language(b.Form))
	allowed, err := a.allowance(ctx, server.User)
	if err != nil {
		return translated(err, msg)
	}
	offered, err := a.offered(ctx, server, allowed)
	if err != nil {
		return err
	}
	options, err := forms.Decode(offered, b.Form)
	var invalid *forms.Invalid
	switch {
	case err == nil:
		c.JSON(http.StatusOK, checkedOptions{Options: options})
		return nil
	case !again || !errors.As(err, &invalid):
		return inBody("form", err)
	}
	page, renderErr := a.page(ctx, server, web.SpawnFormInput{Allowance: allowed, Values: forms.Entered(b.Form), Faults: invalid.Fields}, msg)
	if renderErr != nil {
		return renderErr
	}
	return &locatedFaults{part: "form", form: string(page), err: err}
}

// language is the form's own, empty if it does not say.
func language(form map[string][]string) string {
	if said := form[forms.FieldLanguage]; len(said) == 1 && len(said[0]) <= maxLanguages {
		return said[0]
	}
	return ""
}

// page adds what the cluster has at the moment and renders into memory, so
// that a fault in it is a problem and not half a page.
func (a *API) page(ctx context.Context, server spawner.Key, input web.SpawnFormInput, msg *web.Messages) ([]byte, error) {
	input.Server = server.Server
	var err error
	if input.Servers, err = a.deps.Servers.Running(ctx, server); err != nil {
		return nil, err
	}
	a.addGPUs(ctx, server.User, &input)
	var page bytes.Buffer
	if err := web.SpawnForm(web.NewSpawnFormView(input, msg)).Render(ctx, &page); err != nil {
		return nil, err
	}
	return page.Bytes(), nil
}

func (a *API) addGPUs(ctx context.Context, user string, input *web.SpawnFormInput) {
	if err := input.AddLent(ctx, a.deps.Cluster, user); err != nil {
		a.deps.Log.WarnContext(ctx, "form without what there is to lend", "error", err)
	}
}
