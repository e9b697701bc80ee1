package hubclient_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/hubclient"
)

// TestAllUsers are all or none.
func TestAllUsers(t *testing.T) {
	whole := []string{"list:users", "read:users", "read:servers"}
	for name, row := range map[string]struct {
		scopes []string
		users  int
		// spoil changes the answer to the page at an offset.
		spoil func(offset int, page map[string]any)
		fails bool
	}{
		"none":                    {scopes: whole},
		"one page":                {scopes: whole, users: 50},
		"three pages":             {scopes: whole, users: 120},
		"those of a group":        {scopes: []string{"list:users!group=a", "read:users", "read:servers"}, users: 3, fails: true},
		"without servers":         {scopes: whole[:2], users: 3, fails: true},
		"somebody left meanwhile": {scopes: whole, users: 120, fails: true, spoil: func(offset int, page map[string]any) { page["_pagination"] = map[string]any{"total": 120 - offset/50} }},
		"an empty page in the middle": {scopes: whole, users: 120, fails: true, spoil: func(offset int, page map[string]any) {
			if offset > 0 {
				page["items"] = []any{}
			}
		}},
		"the same page for ever": {scopes: whole, users: 120, fails: true, spoil: func(_ int, page map[string]any) {
			page["items"] = []any{map[string]any{"name": "a", "created": "2026-01-02T03:04:05Z", "servers": map[string]any{}}}
		}},
		"a name alone": {scopes: whole, users: 3, fails: true, spoil: func(_ int, page map[string]any) { page["items"] = []any{map[string]any{"name": "a"}} }},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.URL.Path == "/user" {
					_ = json.NewEncoder(w).Encode(map[string]any{"kind": "service", "name": "elastichub", "scopes": row.scopes})
					return
				}
				assert.Equal(t, "application/jupyterhub-pagination+json", r.Header.Get("Accept"))
				assert.Equal(t, "1", r.URL.Query().Get("include_stopped_servers"))
				offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
				items := []any{}
				for i := offset; i < min(offset+50, row.users); i++ {
					items = append(items, map[string]any{"name": fmt.Sprint("u", i), "created": "2026-01-02T03:04:05Z", "servers": map[string]any{"s": map[string]any{}}})
				}
				page := map[string]any{"items": items, "_pagination": map[string]any{"total": row.users}}
				if row.spoil != nil {
					row.spoil(offset, page)
				}
				_ = json.NewEncoder(w).Encode(page)
			}))
			defer server.Close()
			users, err := newClient(t, server.URL, "token").AllUsers(t.Context())
			if row.fails {
				require.Error(t, err)
				assert.Nil(t, users)
				return
			}
			require.NoError(t, err)
			assert.Len(t, users, row.users)
		})
	}
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	_, err := newClient(t, down.URL, "token").AllUsers(t.Context())
	require.Error(t, err)
	assert.NotErrorIs(t, err, hubclient.ErrNotAll)
}
