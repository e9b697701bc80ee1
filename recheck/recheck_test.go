package recheck

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestSooner(t *testing.T) {
	t.Parallel()
	for _, row := range [][3]time.Duration{{0, 0, 0}, {0, 5, 5}, {5, 0, 5}, {5, 3, 3}, {3, 5, 3}, {-1, 5, 5}, {5, -1, 5}, {-1, -2, 0}} {
		assert.Equal(t, row[2], Sooner(row[0], row[1]), row)
	}
}
