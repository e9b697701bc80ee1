package tokens

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestDerive(t *testing.T) {
	t.Parallel()
	issuer, verifier := newPair(t, 1)
	other, _ := newPair(t, 2)
	text := issuer.Derive("access", "hub", "n1")
	assert.Regexp(t, "^[0-9a-f]{64}$", text)
	assert.Equal(t, text, issuer.Derive("access", "hub", "n1"))
	for _, another := range []string{issuer.Derive("access", "hubn1"), issuer.Derive("access", "hub", "n1", ""), issuer.Derive("digest", "hub", "n1"), other.Derive("access", "hub", "n1")} {
		assert.NotEqual(t, text, another)
	}
	_, err := verifier.Verify(text)
	assert.ErrorIs(t, err, ErrInvalid)
}
