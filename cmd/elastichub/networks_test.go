package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestHasIPv6Services(t *testing.T) {
	for address, want := range map[string]bool{"": false, "10.96.0.1": false, "fd00:10:96::1": true, "kubernetes": false} {
		assert.Equal(t, want, hasIPv6Services(func(string) string { return address }), address)
	}
}
