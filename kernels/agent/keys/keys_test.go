package keys_test

import (
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/rotation"
)

func derive(t *testing.T, uid string, run int64) keys.Secret {
	s, err := keys.Derive([]byte(strings.Repeat("k", keys.Size)), uid, run)
	require.NoError(t, err)
	return s
}

// TestVectors were made with Python's hmac from docs/agent-protocol.md.
func TestVectors(t *testing.T) {
	s := derive(t, "u", 3)
	assert.Equal(t, "2edcf5727026d41b1c4eeaf6e5d482bf7b85e9ad68b3dd3d0e7071b1233ac411", s.Hex())
	assert.Equal(t, "b5d5da5b49fcaa4cca42928978b3528ced826a4d5fdb9ac4c19934dc4a14d55f", s.Bearer())
}

func TestSecretsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range []keys.Secret{derive(t, "u", 1), derive(t, "u", 2), derive(t, "v", 1), derive(t, "u\n1", 1)} {
		seen[s.Hex()], seen[s.Bearer()] = true, true
	}
	assert.Len(t, seen, 8)
}

func TestParse(t *testing.T) {
	s := derive(t, "u", 1)
	got, err := keys.Parse(" " + s.Hex() + "\n")
	require.NoError(t, err)
	assert.Equal(t, s, got)
	for _, text := range []string{"", "zz", s.Hex()[2:], s.Hex() + "00", strings.Repeat("g", 64)} {
		_, err := keys.Parse(text)
		assert.Error(t, err, text)
		if len(text) > 8 {
			assert.NotContains(t, err.Error(), text, "a secret is not echoed")
		}
	}
	_, err = keys.Derive(make([]byte, 31), "u", 1)
	assert.Error(t, err)
}

func TestSecretStaysOutOfLogs(t *testing.T) {
	s := derive(t, "u", 1)
	for _, format := range []string{"%v", "%s", "%+v"} {
		assert.NotContains(t, fmt.Sprintf(format, s), s.Hex())
	}
}

func TestAccepts(t *testing.T) {
	s := derive(t, "u", 1)
	assert.True(t, s.Accepts("Bearer "+s.Bearer()))
	for _, header := range []string{"", "Bearer ", "bearer " + s.Bearer(), s.Bearer(), "Bearer " + s.Bearer() + " ",
		"Bearer " + derive(t, "u", 2).Bearer(), "Bearer " + s.Hex()} {
		assert.False(t, s.Accepts(header), header)
	}
}

func TestTLSPinsTheKey(t *testing.T) {
	right, wrong := derive(t, "u", 1), derive(t, "u", 2)
	shake := func(server, client keys.Secret, days int) error {
		config, err := server.ServerTLS()
		require.NoError(t, err)
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		go func() { _ = tls.Server(a, config).Handshake(); a.Close() }()
		asking := client.ClientTLS()
		asking.Time = func() time.Time { return time.Now().AddDate(0, 0, days) }
		return tls.Client(b, asking).Handshake()
	}
	assert.ErrorIs(t, shake(wrong, right, 0), keys.ErrPeer)
	// The certificate bears dates, since it has to. A kernel may run for years, and clocks may be wrong.
	for _, days := range []int{-400, 0, 400, 4000} {
		assert.NoError(t, shake(right, right, days), "after %d days", days)
	}
}

// TestRunOfAWarmPod: the Pod got its secret before the kernel, and is known by
// its own name, whatever kernel and run have it now.
func TestRunOfAWarmPod(t *testing.T) {
	t.Parallel()
	gateway := make([]byte, keys.Size)
	made, err := keys.Derive(gateway, "warm-1", 0)
	require.NoError(t, err)
	taken, err := keys.GatewayKeys{gateway}.ForRun("uid", 3, "warm-1")
	require.NoError(t, err)
	assert.Equal(t, keys.Secrets{made}, taken)
	cold, err := keys.Derive(gateway, "uid", 3)
	require.NoError(t, err)
	own, err := keys.GatewayKeys{gateway}.ForRun("uid", 3, "")
	require.NoError(t, err)
	assert.Equal(t, keys.Secrets{cold}, own)
}

// TestSecretsOfTwoKeys: while a gateway's key is rotated an agent has one of two secrets.
func TestSecretsOfTwoKeys(t *testing.T) {
	t.Parallel()
	a, b := make([]byte, keys.Size), append(make([]byte, keys.Size-1), 1)
	values := rotation.Values{Current: hex.EncodeToString(b), Former: hex.EncodeToString(a), FormerUntil: time.Unix(100, 0)}
	both, err := keys.ParseGatewayKeys(values, time.Unix(99, 0))
	require.NoError(t, err)
	assert.Equal(t, keys.GatewayKeys{b, a}, both)
	one, err := keys.ParseGatewayKeys(values, time.Unix(100, 0))
	require.NoError(t, err)
	assert.Equal(t, keys.GatewayKeys{b}, one)
	values.Next = "short"
	_, err = keys.ParseGatewayKeys(values, time.Unix(100, 0))
	require.ErrorContains(t, err, "64 hexadecimal digits")
	_, err = keys.GatewayKeys{}.Derive("uid", 1)
	require.ErrorContains(t, err, "no key")
	assert.NotEqual(t, keys.ID(a), keys.ID(b))

	secrets, err := both.Derive("uid", 1)
	require.NoError(t, err)
	var tried []keys.Secret
	err = secrets.Try(func(s keys.Secret) error {
		tried = append(tried, s)
		if s == secrets[0] {
			return fmt.Errorf("dial: %w", keys.ErrPeer)
		}
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, []keys.Secret(secrets), tried)
	refused := errors.New("refused")
	tried = nil
	require.ErrorIs(t, secrets.Try(func(s keys.Secret) error { tried = append(tried, s); return refused }), refused)
	assert.Len(t, tried, 1, "it is the agent that it should be")
	require.ErrorIs(t, secrets.Try(func(keys.Secret) error { return keys.ErrPeer }), keys.ErrPeer)
	require.ErrorIs(t, keys.Secrets(nil).Try(func(keys.Secret) error { return nil }), keys.ErrPeer)
}
