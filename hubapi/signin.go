package hubapi

import (
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/elastichub/elastichub/groups"
)

// Bounds of what the Hub may say of a sign-in.
const (
	maxToken      = 64 << 10
	maxGroups     = 10_000
	maxGroupBytes = 1024
)

// signIn is what the Hub knows of the user's sign-in, for sources of groups
// that answer from it. It goes with every request that asks what the user may
// have, since any replica may get the next one. Tokens are kept in memory only.
type signIn struct {
	IDToken     groups.Token `json:"id_token"`
	AccessToken groups.Token `json:"access_token"`
	// Groups are the Hub's; absent or null when it sends none, which is not
	// the same as an empty list.
	Groups []string `json:"groups"`
}

// present hands a sign-in to the sources before they are asked.
func (a *API) present(user string, s *signIn) error {
	if s == nil {
		return nil
	}
	if len(s.IDToken) > maxToken || len(s.AccessToken) > maxToken {
		return &malformed{"A token in sign_in is longer than 65536 bytes."}
	}
	if len(s.Groups) > maxGroups {
		return &malformed{"There are more than 10000 groups in sign_in."}
	}
	for _, name := range s.Groups {
		if name == "" || len(name) > maxGroupBytes || !utf8.ValidString(name) {
			return &malformed{"The name of a group in sign_in is not 1 to 1024 bytes of UTF-8."}
		}
	}
	a.deps.Allowances.Present(user, groups.SignIn{IDToken: s.IDToken, AccessToken: s.AccessToken, Groups: s.Groups})
	return nil
}

// formFor is form with a sign-in, or with the choices of a link.
func (a *API) formFor(c *gin.Context) error {
	name, err := user(c)
	if err != nil {
		return err
	}
	var b formBody
	if err := a.body(c, &b); err != nil {
		return err
	}
	if err := a.present(name, b.SignIn); err != nil {
		return err
	}
	return a.formWith(c, b.Form)
}
