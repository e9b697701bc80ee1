package store

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPlanesAreTheBytesByPlace(t *testing.T) {
	t.Parallel()
	from := make([]byte, 128+13)
	for i := range from {
		from[i] = byte(i)
	}
	to, back := make([]byte, len(from)), make([]byte, len(from))
	split(to, from)
	for word := range 16 {
		for place := range 8 {
			assert.Equal(t, from[word*8+place], to[place*16+word])
		}
	}
	assert.Equal(t, from[128:], to[128:])
	join(back, to)
	assert.Equal(t, from, back)
}

// TestPacksByWhatIsThere: each way is chosen by what it is for, and every chunk
// comes back, of whatever length.
func TestPacksByWhatIsThere(t *testing.T) {
	t.Parallel()
	packer, err := newPacker()
	require.NoError(t, err)
	defer packer.close()
	unpacker, err := newUnpacker()
	require.NoError(t, err)
	defer unpacker.close()
	r := rand.New(rand.NewPCG(1, 2))
	kinds := map[string]struct {
		make func(size int) []byte
		way  byte
	}{
		"noise": {func(size int) []byte {
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			return data
		}, stored},
		"numbers": {func(size int) []byte {
			data := make([]byte, size+8)
			for i := 0; i < size; i += 8 {
				binary.LittleEndian.PutUint64(data[i:], 1_700_000_000_000_000_000+uint64(i)*125_000_000)
			}
			return data[:size]
		}, planes},
		"text": {func(size int) []byte {
			words := []string{"alpha ", "be ", "gamma, ", "delta ", "epsilon. ", "of ", "the "}
			var data []byte
			for len(data) < size {
				data = append(data, words[r.IntN(len(words))]...)
			}
			return data[:size]
		}, compressed},
	}
	for name, kind := range kinds {
		for _, size := range []int{1, 7, 64, 1000, sampleSize, sampleSize + 1, 1<<20 + 3, chunkSize} {
			data := kind.make(size)
			packed := packer.pack(append(make([]byte, 0, chunkSize+1), data...))
			if size >= sampleSize {
				assert.Equal(t, kind.way, packed[len(packed)-1], "%s, %d bytes", name, size)
			}
			assert.LessOrEqual(t, len(packed), size+1, "%s, %d bytes", name, size)
			back := make([]byte, size)
			require.NoError(t, unpacker.unpack(back, packed), "%s, %d bytes", name, size)
			assert.True(t, bytes.Equal(data, back), "%s, %d bytes", name, size)
			assert.Error(t, unpacker.unpack(back[:size-1], packed), "%s, %d bytes", name, size)
		}
	}
	for _, packed := range [][]byte{nil, {9}, {1, 2, 3, compressed}, {planes}} {
		assert.Error(t, unpacker.unpack(make([]byte, 8), packed), "%v", packed)
	}
}
