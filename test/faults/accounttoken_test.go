//go:build e2e

package faults

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
)

// TestATokenOfAnAccountIsForItsAudienceAlone: a kernel has it where a policy and the
// account's owner say so, whoever it is for takes it, and the API server does not.
func TestATokenOfAnAccountIsForItsAudienceAlone(t *testing.T) {
	const audience = "vault.example.org"
	d := demo(t)
	d.must(t, "create", "serviceaccount", "bucket")
	t.Cleanup(func() { d.must(t, "delete", "serviceaccount", "bucket") })
	d.must(t, "annotate", "serviceaccount", "bucket", "elastichub.io/for-policies=analysts", "elastichub.io/token-audiences="+audience)
	t.Cleanup(func() {
		d.must(t, "patch", "grouppolicy", "analysts", "--type=merge", "-p", `{"spec":{"serviceAccountName":null,"serviceAccountTokens":null}}`)
	})
	d.must(t, "patch", "grouppolicy", "analysts", "--type=merge", "-p",
		`{"spec":{"serviceAccountName":"bucket","serviceAccountTokens":[{"audience":"`+audience+`","path":"vault","expirationSeconds":600}]}}`)

	s := d.withHome(t, "cloudy")
	_, k := s.open(wire.SubprotocolV1)
	token := run(t, k, "print(open('/var/run/secrets/tokens/vault').read(), end='')")
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var claims struct {
		Aud []string
		Sub string
	}
	require.NoError(t, json.Unmarshal(payload, &claims))
	assert.Equal(t, []string{audience}, claims.Aud)
	assert.Equal(t, "system:serviceaccount:"+d.Namespace+":bucket", claims.Sub)
	assert.Equal(t, "[]\n", run(t, k, "import glob; print(glob.glob('/var/run/secrets/kubernetes.io/serviceaccount/*'))"))

	assert.Equal(t, []string{audience}, d.review(t, token, audience))
	assert.Empty(t, d.review(t, token), "the API server itself")
}

// review asks the API server whether a token is one for some audience, its own if none is
// named, and returns for which it is.
func (d *Demo) review(t *testing.T, token string, audiences ...string) []string {
	t.Helper()
	asked, err := json.Marshal(map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": map[string]any{"token": token, "audiences": audiences},
	})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "review.json")
	require.NoError(t, os.WriteFile(file, asked, 0o600))
	var said struct {
		Status struct {
			Authenticated bool
			Audiences     []string
		}
	}
	require.NoError(t, json.Unmarshal([]byte(d.must(t, "create", "--raw", "/apis/authentication.k8s.io/v1/tokenreviews", "-f", file)), &said))
	if !said.Status.Authenticated {
		return nil
	}
	return said.Status.Audiences
}
