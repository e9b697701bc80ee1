package support

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	t.Parallel()
	pem := "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIBt\n-----END EC PRIVATE KEY-----"
	users := []string{"alice", "alice@example.org", "al", "Bob", "da_ve", "x", "名前", "ana-maria", "ana"}
	s := NewScrubber(users, [][]byte{[]byte("s3cret-word"), []byte("first line\nsecond line"), []byte("true")})
	user := s.Stands()
	assert.NotContains(t, user, "x", "one letter is everywhere")
	for text, want := range map[string]string{
		"a server of alice is up":                  "a server of " + user["alice"] + " is up",
		"user=ALICE":                               "user=" + user["alice"],
		"/user/alice/api":                          "/user/" + user["alice"] + "/api",
		"jupyter-alice--two---0a1b2c":              "jupyter-" + user["alice"] + "--two---0a1b2c",
		"malice and alicent":                       "malice and alicent",
		"claim-bob.":                               "claim-" + user["Bob"] + ".",
		"alice@example.org":                        user["alice@example.org"],
		"claim-alice-example-org---0a1b":           "claim-" + user["alice@example.org"] + "---0a1b",
		"da_ve":                                    user["da_ve"],
		"jupyter-da-ve":                            "jupyter-" + user["da_ve"],
		"ana-maria, ana":                           user["ana-maria"] + ", " + user["ana"],
		"ana-mariana":                              user["ana"] + "-mariana",
		"of 名前 and 名前名":                            "of " + user["名前"] + " and 名前名",
		"al: also":                                 user["al"] + ": also",
		"said s3cret-word, twice s3cret-word":      "said (hidden), twice (hidden)",
		"says second line of it":                   "says (hidden) of it",
		"enabled: true":                            "enabled: true",
		"mail to who@example.com":                  "mail to (hidden)",
		"Authorization: token abcdef0123":          "Authorization: token (hidden)",
		`authorization="Bearer abcdef"`:            `authorization="Bearer (hidden)"`,
		"?token=abc&x=1":                           "?token=(hidden)&x=1",
		`{"api_token": "abc"}`:                     `{"api_token": "(hidden)"}`,
		"tokenSecret: hub-api":                     "tokenSecret: hub-api",
		"https://joe:pw@registry.example/x":        "https://(hidden)registry.example/x",
		"key " + pem + " end":                      "key (hidden) end",
		"jwt eyJhbGciOiJSUzI1NiJ9.eyJzdWIi.c2lnbg": "jwt (hidden)",
		"image@sha256:" + strings.Repeat("0a", 32): "image@sha256:" + strings.Repeat("0a", 32),
	} {
		assert.Equal(t, want, s.Text(text), text)
	}
}

// TestASecretInAPod is of a name that is also a part of a value: the value goes whole.
func TestNamesWithinSecrets(t *testing.T) {
	t.Parallel()
	s := NewScrubber([]string{"alice"}, [][]byte{[]byte("alice-0123456789")})
	assert.Equal(t, "x (hidden) y", s.Text("x alice-0123456789 y"))
}

func TestLastBytes(t *testing.T) {
	t.Parallel()
	lines := strings.Repeat("0123456\n", 40_000)
	kept, err := lastBytes(strings.NewReader(lines), 100)
	require.NoError(t, err)
	assert.Equal(t, strings.Repeat("0123456\n", 12), string(kept), "whole lines alone")
	kept, err = lastBytes(strings.NewReader("one\ntwo\n"), 100)
	require.NoError(t, err)
	assert.Equal(t, "one\ntwo\n", string(kept))
}

// FuzzText: no name and no secret comes through, whatever is beside it.
func FuzzText(f *testing.F) {
	secret := []byte(base64.StdEncoding.EncodeToString([]byte("of twenty-four bytes....")))
	f.Add("a ", " b")
	f.Add("名", "\xff")
	f.Fuzz(func(t *testing.T, before, after string) {
		s := NewScrubber([]string{"planted-user", "plan"}, [][]byte{secret})
		assert.False(t, bytes.Contains([]byte(s.Text(before+string(secret)+after)), secret))
		assert.NotContains(t, strings.ToLower(s.Text(before+" planted-user "+after)), " planted-user ")
	})
}
