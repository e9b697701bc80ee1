package hubapi

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/spawner"
)

// checkOptions checks user_options that no form has seen.
func (a *API) checkOptions(c *gin.Context) error {
	server, err := key(c, "server")
	if err != nil {
		return err
	}
	stored, err := flag(c, "stored")
	if err != nil {
		return err
	}
	var b optionsBody
	if err := a.body(c, &b); err != nil {
		return err
	}
	if err := a.present(server.User, b.SignIn); err != nil {
		return err
	}
	allowed, err := a.allowance(c.Request.Context(), server.User)
	if err != nil {
		return err
	}
	if allowed, err = a.offered(c.Request.Context(), server, allowed); err != nil {
		return err
	}
	var checked checkedOptions
	if stored {
		checked.Options, checked.Dropped, err = storedOptions(allowed, b.Options)
	} else {
		checked.Options, err = forms.Check(allowed, chosen(b.Options))
	}
	if err != nil {
		return inBody("options", err)
	}
	c.JSON(http.StatusOK, checked)
	return nil
}

// storedOptions are what is left of options that the Hub has kept.
func storedOptions(allowed groups.Allowance, kept json.RawMessage) (forms.Options, []fieldFault, error) {
	options, dropped, err := forms.Stored(allowed, chosen(kept))
	return options, fieldFaults("options", dropped), err
}

// start makes a server run. The options are checked here whatever was checked
// before: a policy may have changed, and REST callers have seen no form.
func (a *API) start(c *gin.Context) error {
	server, err := key(c, "name")
	if err != nil {
		return err
	}
	var b startBody
	if err := a.body(c, &b); err != nil {
		return err
	}
	if err := checkStart(b, time.Now()); err != nil {
		return err
	}
	if err := a.present(server.User, b.SignIn); err != nil {
		return err
	}
	ctx := c.Request.Context()
	allowed, err := a.allowanceNow(ctx, server.User)
	if err != nil {
		return err
	}
	if allowed, err = a.offered(ctx, server, allowed); err != nil {
		return err
	}
	options, err := forms.Check(allowed, chosen(b.Options))
	if err != nil {
		return inBody("options", err)
	}
	request, err := startRequest(server, b, allowed, options)
	if err != nil {
		return err
	}
	if request.Others, err = hubUsers(c, "others", maxOthers); err != nil {
		return err
	}
	if request.DisplayName, err = query(c, "display_name", maxServer); err != nil {
		return err
	}
	_, span := a.deps.Tracer.Begin(ctx, "write the server")
	defer span.End()
	state, err := a.deps.Servers.Start(ctx, request)
	var unfit *spawner.UnfitError
	if errors.As(err, &unfit) {
		return inBody("options", unfitOptions(unfit))
	}
	if err != nil {
		span.Fail(kindOf(err))
		return err
	}
	c.JSON(http.StatusOK, wireState(state))
	return nil
}

// chosen makes absent options the empty object, which means the defaults.
func chosen(options json.RawMessage) json.RawMessage {
	if trimmed := bytes.TrimSpace(options); len(trimmed) == 0 || bytes.Equal(trimmed, []byte("null")) {
		return json.RawMessage("{}")
	}
	return options
}

func (a *API) state(c *gin.Context) error {
	server, err := key(c, "name")
	if err != nil {
		return err
	}
	state, err := a.deps.Servers.State(c.Request.Context(), server)
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, wireState(state))
	return nil
}

// host tells where a server answers, or would if there were one: a Hub with internal_ssl makes
// a certificate for it before it starts the server.
func (a *API) host(c *gin.Context) error {
	server, err := key(c, "name")
	if err != nil {
		return err
	}
	others, err := hubUsers(c, "others", maxOthers)
	if err != nil {
		return err
	}
	host, err := a.deps.Servers.Host(c.Request.Context(), server, others)
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, serverHost{host})
	return nil
}

// states lists all servers. A Hub asks every few seconds, and mostly for what it has: then it
// is told so, and has nothing to parse.
func (a *API) states(c *gin.Context) error {
	states, err := a.deps.Servers.States(c.Request.Context())
	if err != nil {
		return err
	}
	list := serverList{Servers: make([]serverState, len(states))}
	for i, state := range states {
		list.Servers[i] = wireState(state)
	}
	slices.SortFunc(list.Servers, func(a, b serverState) int { // so that the same is the same
		return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Server, b.Server), cmp.Compare(a.HubUser, b.HubUser))
	})
	page, err := json.Marshal(list)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(page)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	c.Header("ETag", tag)
	if c.GetHeader("If-None-Match") == tag {
		c.Status(http.StatusNotModified)
		c.Writer.WriteHeaderNow()
		return nil
	}
	c.Data(http.StatusOK, "application/json; charset=utf-8", page)
	return nil
}

// rename gives a stopped server another name.
func (a *API) rename(c *gin.Context) error {
	server, err := key(c, "name")
	if err != nil {
		return err
	}
	to, err := query(c, "to", maxServer)
	if err != nil {
		return err
	}
	if err := a.deps.Servers.Rename(c.Request.Context(), server, to); err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}

// stop ends a server; forever also removes its volumes. Both are idempotent.
func (a *API) stop(c *gin.Context) error {
	server, err := key(c, "name")
	if err != nil {
		return err
	}
	forever, err := flag(c, "forever")
	if err != nil {
		return err
	}
	start, err := query(c, "start", maxStart)
	if err != nil {
		return err
	}
	ctx, status := c.Request.Context(), http.StatusAccepted
	switch {
	case forever:
		status, err = http.StatusNoContent, a.deps.Servers.Remove(ctx, server)
	case start != "":
		err = a.deps.Servers.StopStart(ctx, server, start)
	default:
		err = a.deps.Servers.Stop(ctx, server)
	}
	if err != nil {
		return err
	}
	c.Status(status)
	c.Writer.WriteHeaderNow()
	return nil
}
