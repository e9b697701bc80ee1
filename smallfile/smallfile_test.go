package smallfile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/smallfile"
)

func TestRead(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "list")
	_, err := smallfile.Read(name, 4)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.WriteFile(name, []byte("1234"), 0o600))
	content, err := smallfile.Read(name, 4)
	require.NoError(t, err)
	assert.Equal(t, "1234", string(content))
	_, err = smallfile.Read(name, 3)
	require.EqualError(t, err, name+": longer than 3 bytes")
	_, err = smallfile.Read("/dev/zero", 1000)
	require.ErrorContains(t, err, "longer than 1000 bytes")
	_, err = smallfile.Read(filepath.Dir(name), 4)
	assert.Error(t, err)
}
