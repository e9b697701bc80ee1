package hubclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/elastichub/elastichub/outbound"
)

const (
	// usersPerPage keeps an answer below maxAnswerBytes and the Hub's loop free between two.
	usersPerPage = 50
	// mostUsers is more than any Hub has: an end for a Hub that never says "last".
	mostUsers = 1_000_000
)

// ErrNotAll: the token may not list all users with all of their servers.
var ErrNotAll = errors.New("hubclient: the token lacks list:users, read:users or read:servers, or has them of some users only")

// errChanged: users came or went while they were listed.
var errChanged = errors.New("the Hub's users changed while they were listed")

// AllUsers lists every user with all servers that the Hub knows, stopped ones included: all
// of them or none. Error: ErrNotAll.
func (c *Client) AllUsers(ctx context.Context) ([]User, error) {
	self, err := c.Self(ctx)
	if err != nil {
		return nil, err
	}
	for _, scope := range []string{"list:users", "read:users", "read:servers"} { // with "!" it is of some
		if !slices.Contains(self.Scopes, scope) {
			return nil, ErrNotAll
		}
	}
	var all []User
	names := map[string]bool{}
	for total := -1; total < 0 || len(all) < total; {
		page, err := c.usersFrom(ctx, len(all))
		if err != nil {
			return nil, err
		}
		if total >= 0 && page.Pagination.Total != total || len(page.Items) == 0 && len(all) < page.Pagination.Total || page.Pagination.Total > mostUsers {
			return nil, errChanged
		}
		total = page.Pagination.Total
		for _, user := range page.Items {
			if user.Name == "" || user.Servers == nil || user.Created == "" {
				return nil, ErrNotAll
			}
			if names[user.Name] {
				return nil, errChanged
			}
			names[user.Name] = true
			all = append(all, user)
		}
	}
	return all, nil
}

// usersPage is one of the Hub's pages.
type usersPage struct {
	Items      []User `json:"items"`
	Pagination struct {
		Total int `json:"total"`
	} `json:"_pagination"`
}

func (c *Client) usersFrom(ctx context.Context, offset int) (usersPage, error) {
	var page usersPage
	token, err := outbound.ReadSecret(c.config.TokenFile)
	if err != nil {
		return page, fmt.Errorf("tokenFile: %w", err)
	}
	path := fmt.Sprintf("/users?include_stopped_servers=1&offset=%d&limit=%d", offset, usersPerPage)
	request, err := http.NewRequest(http.MethodGet, strings.TrimSuffix(c.config.APIURL, "/")+path, nil)
	if err != nil {
		return page, err
	}
	request.Header.Set("Authorization", "token "+token)
	request.Header.Set("Accept", "application/jupyterhub-pagination+json")
	text, err := c.client.Do(ctx, request)
	if err == nil {
		err = json.Unmarshal(text, &page)
	}
	c.count(err)
	return page, err
}
