package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
)

// TestAudiencesOfTheAPIServer are read from the service's own token.
func TestAudiencesOfTheAPIServer(t *testing.T) {
	token := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	}
	for text, want := range map[string][]string{
		token(`{"iss": "https://issuer.example.org", "aud": ["api", "https://k3s"]}`): {"api", "https://k3s", "https://issuer.example.org"},
		token(`{"iss": "https://issuer.example.org", "aud": "api"}`):                  {"api", "https://issuer.example.org"},
		token(`{"iss": "kubernetes/serviceaccount"}`):                                 {"kubernetes/serviceaccount"},
		token(`{}`):   {},
		token(`[]`):   nil,
		"opaque":      nil,
		"":            nil,
		"a.!.c":       nil,
		"a.b.c.d.e.f": nil,
	} {
		assert.Equal(t, want, audiencesOf(text), text)
	}
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token(`{"iss": "i", "aud": "a"}`)+"\n"), 0o600))
	got, err := apiAudiences(&rest.Config{BearerTokenFile: file, BearerToken: "former"})
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "i"}, got)
	_, err = apiAudiences(&rest.Config{BearerTokenFile: file + "x"})
	require.Error(t, err)
	got, err = apiAudiences(&rest.Config{})
	require.NoError(t, err)
	assert.Empty(t, got, "a service outside of the cluster")
}
