package portal_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/portal/signin"
	"github.com/elastichub/elastichub/test/hubtest"
)

// TestWhereTheHubIsElsewhere: by the Hub's OAuth to a page and back from a form of it, where the Hub is
// below a path with TLS at a proxy before it, and where each user has a subdomain.
func TestWhereTheHubIsElsewhere(t *testing.T) {
	for name, row := range map[string]struct {
		tls            bool
		host           string // of the Hub; the port is the site's
		base           string
		console        string // the host of the console
		hubURL, ownURL func(origin, console string) string
	}{
		"below a path, TLS at the proxy": {true, "example.com", "/jhub/", "example.com",
			func(string, string) string { return "/jhub/hub/" }, func(string, string) string { return "" }},
		"a subdomain for each user": {false, "jhub.localhost", "", "console--service.jhub.localhost",
			func(origin, _ string) string { return origin + "/hub/" }, func(_, console string) string { return console }},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarnessOfAlice(t)
			site := httptest.NewUnstartedServer(nil)
			t.Cleanup(site.Close)
			scheme := "http"
			if row.tls {
				scheme = "https"
			}
			at := func(host string) string {
				return fmt.Sprintf("%s://%s:%d", scheme, host, site.Listener.Addr().(*net.TCPAddr).Port)
			}
			place := hubtest.Place{Base: row.base}
			if row.console != row.host {
				place.Subdomains = at(row.host)
			}
			hub := hubtest.StartAt(t, place)
			hub.User("alice", "console")
			base := row.base
			if base == "" {
				base = "/"
			}
			site.Config.Handler = hubWithConsole(t, h, hub, func(config *signin.Config) {
				config.BasePath = base + "services/console/"
				config.Hub.PublicURL, config.PublicURL = row.hubURL(at(row.host), at(row.console)), row.ownURL(at(row.host), at(row.console))
			})
			if row.tls {
				site.StartTLS()
			} else {
				site.Start()
			}
			jar, err := cookiejar.New(nil)
			require.NoError(t, err)
			transport, ok := site.Client().Transport.(*http.Transport)
			require.True(t, ok)
			transport = transport.Clone() // knows the certificate, and finds every name here
			transport.DisableKeepAlives = true
			transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, site.Listener.Addr().String())
			}
			browser := &http.Client{Jar: jar, Transport: transport}
			hubtest.LogIn(t, browser, at(row.host)+base[:len(base)-1], "alice")

			page := at(row.console) + base + "services/console/kernels/k-alice"
			answer, err := browser.Get(page)
			require.NoError(t, err)
			text, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			require.NoError(t, err)
			require.Equal(t, page, answer.Request.URL.String(), "%s", text)
			require.Contains(t, string(text), "Release now")
			assert.Contains(t, string(text), row.hubURL(at(row.host), at(row.console))+"home", "links lead to the Hub where it is")
			ours, err := url.Parse(page)
			require.NoError(t, err)
			var names []string
			for _, cookie := range jar.Cookies(ours) {
				names = append(names, cookie.Name)
			}
			assert.Contains(t, names, "elastichub-session")
			plain := *ours
			plain.Scheme = "http"
			if row.tls {
				assert.Empty(t, jar.Cookies(&plain), "Secure")
			}

			w := httptest.NewRecorder()
			_, _ = w.Write(text)
			form := formOf(t, w, base+"services/console/kernels/k-alice/release")
			answer, err = browser.PostForm(page+"/release", form)
			require.NoError(t, err)
			text, err = io.ReadAll(answer.Body)
			answer.Body.Close()
			require.NoError(t, err)
			assert.Contains(t, string(text), "Asked for.")
		})
	}
}
