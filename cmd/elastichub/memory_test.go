package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMemoryLimitOfTheControlGroup(t *testing.T) {
	before := debug.SetMemoryLimit(1 << 30)
	defer debug.SetMemoryLimit(before)
	for file, limits := range map[string]map[string]int64{
		"memory.max":                   {"max\n": 1 << 30, "2147483648\n": 1 << 30, "100000000\n": 90000000, "": 1 << 30},
		"memory/memory.limit_in_bytes": {"9223372036854771712\n": 1 << 30, "100000000\n": 90000000},
	} {
		for text, want := range limits {
			debug.SetMemoryLimit(1 << 30)
			root := t.TempDir()
			path := filepath.Join(root, file)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			assert.Equal(t, want, limitMemory(root), "%s: %q", file, text)
			assert.Equal(t, want, debug.SetMemoryLimit(-1), "the garbage collector knows it")
		}
	}
	debug.SetMemoryLimit(1 << 30)
	assert.Equal(t, int64(1<<30), limitMemory(t.TempDir()))
}
