package cache

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestScratchIsLockedUntilItIsDone(t *testing.T) {
	c := Cache{Root: t.TempDir()}
	dir, done, err := c.Scratch("kind/name")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "half"), nil, 0o644))
	swept, err := c.Sweep()
	require.NoError(t, err)
	assert.Zero(t, swept, "its process lives")
	assert.DirExists(t, dir)
	done()
	assert.Empty(t, below(t, c))
}

// TestSweep takes what dead processes have left, and nothing that it cannot
// tell to be theirs.
func TestSweep(t *testing.T) {
	c := Cache{Root: t.TempDir()}
	swept, err := c.Sweep()
	require.NoError(t, err)
	assert.Zero(t, swept, "there is no cache yet")
	scratch := filepath.Join(c.Root, "scratch")
	require.NoError(t, os.MkdirAll(filepath.Join(scratch, "build-1", "read-only"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(scratch, "build-1", "read-only", "file"), nil, 0o444))
	require.NoError(t, os.Chmod(filepath.Join(scratch, "build-1", "read-only"), 0o500))
	require.NoError(t, os.WriteFile(filepath.Join(scratch, "build-1.lock"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(scratch, "layers-2.lock"), nil, 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(scratch, "unknown"), 0o755))
	swept, err = c.Sweep()
	require.NoError(t, err)
	assert.Equal(t, 2, swept)
	assert.Equal(t, []string{"unknown"}, below(t, c))
}

func below(t *testing.T, c Cache) []string {
	t.Helper()
	var names []string
	entries, err := os.ReadDir(filepath.Join(c.Root, "scratch"))
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
