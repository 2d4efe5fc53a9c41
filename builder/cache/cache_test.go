package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnEntryIsMadeOnce(t *testing.T) {
	c := Cache{Root: t.TempDir()}
	made := 0
	fill := func(_ context.Context, dir string) error {
		made++
		return os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o644)
	}
	first, hit, err := c.Dir(t.Context(), "kind", "key", fill)
	require.NoError(t, err)
	assert.False(t, hit)
	second, hit, err := c.Dir(t.Context(), "kind", "key", fill)
	require.NoError(t, err)
	assert.True(t, hit)
	assert.Equal(t, first, second)
	assert.Equal(t, 1, made)
}

func TestAFailedEntryLeavesNothing(t *testing.T) {
	c := Cache{Root: t.TempDir()}
	_, _, err := c.Dir(t.Context(), "kind", "key", func(_ context.Context, dir string) error {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "half"), 0o500))
		return errors.New("disk is full")
	})
	require.EqualError(t, err, "disk is full")
	assert.False(t, c.Has("kind", "key"))
	left, err := os.ReadDir(filepath.Join(c.Root, "scratch"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestKeyDependsOnOrderAndContent(t *testing.T) {
	assert.Equal(t, Key("a", 1), Key("a", 1))
	assert.NotEqual(t, Key("a", "b"), Key("b", "a"))
	assert.NotEqual(t, Key("ab"), Key("a", "b"))
}
