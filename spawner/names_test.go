package spawner

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

func TestNameForms(t *testing.T) {
	for key, want := range map[Key]string{
		{User: "alice"}:                                     "jupyter-alice",
		{User: "alice", Server: "work"}:                     "jupyter-alice--work",
		{User: "1-2"}:                                       "jupyter-1-2",
		{User: "Alice"}:                                     "jupyter-alice---3bc51062973c458d",
		{User: "alice", Server: "Work"}:                     "jupyter-alice--work---",
		{User: "анна"}:                                      "jupyter-x---",
		{User: "a@b.example"}:                               "jupyter-a-b-example---",
		{User: strings.Repeat("a", maxSlug)}:                "jupyter-" + strings.Repeat("a", maxSlug),
		{User: strings.Repeat("a", maxSlug+1)}:              "jupyter-" + strings.Repeat("a", 19) + "---",
		{User: "a--b"}:                                      "jupyter-a-b---",
		{User: strings.Repeat("a", 30), Server: "training"}: "jupyter-aaaaaaaa--training---",
	} {
		name := Name(key)
		if strings.HasSuffix(want, "---") {
			assert.Regexp(t, "^"+regexp.QuoteMeta(want)+"[0-9a-f]{16}$", name, "%q", key)
			continue
		}
		assert.Equal(t, want, name, "%q", key)
	}
}

// Keys that differ in case, alphabet, dashes or length alone, and all names
// that the scheme itself gives, must not meet.
func TestNamesNeverMeet(t *testing.T) {
	parts := []string{
		"a", "A", "b", "ab", "a-b", "a--b", "a---b", "-a", "a-", "a_b", "a.b", "a b", "á", "а", "ａ", "x", "X", "日本", "用户", "env", "home",
		"gateway", "a-env", "home-a", "a--env", "\u212a", "k", "K", "İ", "i", strings.Repeat("a", 29), strings.Repeat("a", 38),
		strings.Repeat("a", 39), strings.Repeat("a", 63), strings.Repeat("a", 300), strings.Repeat("é", 100), "a*b", "a/b", "a%2Fb",
	}
	keys := map[Key]bool{}
	for _, user := range parts {
		keys[Key{User: user}] = true
		for _, server := range parts {
			keys[Key{User: user, Server: server}] = true
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("abAB-._@é日")
	word := func() string {
		runes := make([]rune, 1+random.IntN(12))
		for i := range runes {
			runes[i] = alphabet[random.IntN(len(alphabet))]
		}
		return string(runes)
	}
	for range 20000 {
		keys[Key{User: word()}] = true
		keys[Key{User: word(), Server: word()}] = true
	}
	// Users who name themselves after someone else's object.
	for key := range keys {
		if len(keys) > 60000 {
			break
		}
		stolen := strings.TrimPrefix(Name(key), namePrefix)
		keys[Key{User: stolen}] = true
		if user, server, ok := strings.Cut(stolen, "--"); ok {
			keys[Key{User: user, Server: server}] = true
		}
	}
	seen := map[string]Key{}
	for key := range keys {
		name := Name(key)
		if other, ok := seen[name]; ok {
			require.Failf(t, "collision", "%q and %q are both %s", key, other, name)
		}
		seen[name] = key
		require.Empty(t, validation.IsDNS1035Label(name), "%q", key)
		require.LessOrEqual(t, len(name+"-0123456789-01234"), 63, "%q", key)
		require.Empty(t, validation.IsDNS1123Label(v1alpha1.DefaultHomeClaim(name)), "%q", key)
		require.Empty(t, validation.IsDNS1123Label(name+gatewaySecretSuffix), "%q", key)
		require.Empty(t, validation.IsValidLabelValue(podrules.LabelValue(key.User)), "%q", key)
		require.Empty(t, validation.IsValidLabelValue(podrules.LabelValue(key.Server)), "%q", key)
	}
}

func FuzzName(f *testing.F) {
	f.Add("alice", "", "alice--work", "")
	f.Add("a", "b", "a--b", "")
	f.Fuzz(func(t *testing.T, user, server, user2, server2 string) {
		for _, part := range []string{user, server, user2, server2} {
			if !utf8.ValidString(part) {
				t.Skip() // Start refuses such keys
			}
		}
		one, two := Key{User: user, Server: server}, Key{User: user2, Server: server2}
		name := Name(one)
		if faults := validation.IsDNS1035Label(name); len(faults) > 0 || len(name) > maxName {
			t.Fatalf("%q: %s: %v", one, name, faults)
		}
		if one != two && name == Name(two) {
			t.Fatalf("%q and %q share %s", one, two, name)
		}
	})
}
