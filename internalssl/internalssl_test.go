package internalssl_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/internalssl"
	"github.com/elastichub/elastichub/internalssl/internalssltest"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	hub, now := internalssltest.New(t), time.Now()
	good := hub.Pair(t, "jupyter-alice.hub.svc")
	require.Empty(t, good.Faults(now))
	commented := good
	commented.Authorities = "# hub-ca\n" + good.Authorities + "# the end\n"
	require.Empty(t, commented.Faults(now))
	for name, row := range map[string]struct {
		change   func(*internalssl.Pair)
		field    internalssl.Field
		message  string
		tooLarge bool
	}{
		"no key":         {func(p *internalssl.Pair) { p.Key = "" }, internalssl.FieldKey, "private key of cert", false},
		"another key":    {func(p *internalssl.Pair) { p.Key = hub.Pair(t, "b").Key }, internalssl.FieldKey, "private key of cert", false},
		"long key":       {func(p *internalssl.Pair) { p.Key += strings.Repeat("\n", internalssl.MaxKeyBytes) }, internalssl.FieldKey, "the most is 16384", true},
		"no certificate": {func(p *internalssl.Pair) { p.Certificate = "" }, internalssl.FieldCertificate, "as PEM", false},
		"a key in it":    {func(p *internalssl.Pair) { p.Certificate += p.Key }, internalssl.FieldCertificate, "nothing else", false},
		"no DER": {func(p *internalssl.Pair) {
			p.Certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
		}, internalssl.FieldCertificate, "cannot be read", false},
		"cut off":          {func(p *internalssl.Pair) { p.Authorities += p.Certificate[:100] }, internalssl.FieldAuthorities, "nothing else", false},
		"expired":          {func(p *internalssl.Pair) { *p = hub.PairUntil(t, now.Add(-24*time.Hour), "a") }, internalssl.FieldCertificate, "expired on", false},
		"no authorities":   {func(p *internalssl.Pair) { p.Authorities = "none" }, internalssl.FieldAuthorities, "as PEM", false},
		"many authorities": {func(p *internalssl.Pair) { p.Authorities = strings.Repeat(p.Authorities, 300) }, internalssl.FieldAuthorities, "the most is 131072", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := good
			row.change(&p)
			faults := p.Faults(now)
			require.Len(t, faults, 1)
			assert.Equal(t, row.field, faults[0].Field)
			assert.Equal(t, row.tooLarge, faults[0].TooLarge)
			assert.Contains(t, faults[0].Message, row.message)
		})
	}
	assert.Len(t, internalssl.Pair{}.Faults(now), 2, "all at once")
}

func TestIsFor(t *testing.T) {
	t.Parallel()
	p := internalssltest.New(t).Pair(t, "jupyter-alice.hub.svc", "127.0.0.1", "fd00::1")
	for host, is := range map[string]bool{
		"jupyter-alice.hub.svc": true, "127.0.0.1": true, "fd00::1": true,
		"jupyter-bob.hub.svc": false, "alice.hub.svc": false, "127.0.0.2": false, "": false,
	} {
		assert.Equal(t, is, p.IsFor(host), host)
	}
	assert.False(t, internalssl.Pair{}.IsFor("a"))
}

// serve is a server with the files of a start, as jupyterhub-singleuser has them.
func serve(t *testing.T, files map[string][]byte) string {
	t.Helper()
	own, err := tls.X509KeyPair(files[internalssl.FileCertificate], files[internalssl.FileKey])
	require.NoError(t, err)
	trusted := x509.NewCertPool()
	require.True(t, trusted.AppendCertsFromPEM(files[internalssl.FileAuthorities]))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: trusted, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = nil
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func reaches(t *testing.T, address string, config *tls.Config) error {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address, nil)
	require.NoError(t, err)
	answer, err := transport.RoundTrip(r)
	if err == nil {
		answer.Body.Close()
	}
	return err
}

// TestWhoReachesAServer: the Hub and elastichub do, and nobody does with what they have of another start.
func TestWhoReachesAServer(t *testing.T) {
	t.Parallel()
	hub := internalssltest.New(t)
	files := func() map[string][]byte {
		all, err := internalssl.Files(hub.Pair(t, "127.0.0.1"), time.Now())
		require.NoError(t, err)
		return all
	}
	one, another := files(), files()
	address := serve(t, one)
	client := func(files map[string][]byte) *tls.Config {
		config, err := internalssl.Client(files)
		require.NoError(t, err)
		return config
	}
	require.NoError(t, reaches(t, address, hub.Client(t)))
	require.NoError(t, reaches(t, address, client(one)))
	require.Error(t, reaches(t, address, client(another)), "another server's certificate")
	mixed := client(another)
	mixed.RootCAs = client(one).RootCAs
	require.Error(t, reaches(t, address, mixed), "what elastichub shows to another server")
	bare := client(one)
	bare.Certificates = nil
	require.Error(t, reaches(t, address, bare), "nothing is shown")
	delete(one, "client.key")
	require.Error(t, reaches(t, address, client(one)), "a Secret of somebody's own, which has no such key")
	_, err := internalssl.Client(map[string][]byte{})
	require.ErrorContains(t, err, "tls.crt")
	another["client.key"] = one[internalssl.FileKey]
	_, err = internalssl.Client(another)
	require.ErrorContains(t, err, "no pair")
}
