package gateway

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pieces is a connection that gives what it has in pieces of any size.
type pieces struct {
	net.Conn
	data  *bytes.Reader
	most  int
	reads int
}

func (c *pieces) Read(p []byte) (int, error) {
	c.reads++
	return c.data.Read(p[:min(len(p), 1+rand.IntN(c.most))])
}

func TestReadAheadLosesNothing(t *testing.T) {
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	for _, most := range []int{100, 20_000, 1 << 20} {
		c := &readAhead{Conn: &pieces{data: bytes.NewReader(data), most: most}}
		var got []byte
		for {
			p := make([]byte, 1+rand.IntN(2*aheadBytes))
			n, err := c.Read(p)
			got = append(got, p[:n]...)
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
		}
		assert.True(t, bytes.Equal(data, got), "%d", most)
		assert.Nil(t, c.buffer, "nothing is held at the end")
	}
}

func TestReadAheadReadsRarely(t *testing.T) {
	under := &pieces{data: bytes.NewReader(make([]byte, 4<<20)), most: 1}
	under.most = 1 << 30
	c := &readAhead{Conn: under}
	record := make([]byte, 16<<10)
	for {
		if _, err := io.ReadFull(c, record); err != nil {
			break
		}
	}
	assert.Less(t, under.reads, 4<<20/(16<<10)/4, "as crypto/tls asks")
}
