package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func parts(t *testing.T, dir string) []Partition {
	t.Helper()
	file := filepath.Join(dir, "content")
	// One byte over a MiB, most of it zeros: rounded up, and a hole.
	data := make([]byte, 1<<20+1)
	data[0], data[1<<20] = 'a', 'z'
	require.NoError(t, os.WriteFile(file, data, 0o644))
	return []Partition{
		{Name: "esp", Type: TypeESP, UUID: "11111111-2222-4333-8444-555555555501", MiB: 4, File: file},
		{Name: "_empty", Type: TypeRoot, UUID: "11111111-2222-4333-8444-555555555502", MiB: 8},
		{Name: StateLabel, Type: TypeState, UUID: "11111111-2222-4333-8444-555555555503", File: file},
	}
}

func TestAssemble(t *testing.T) {
	dir := t.TempDir()
	images := [2]string{filepath.Join(dir, "a.raw"), filepath.Join(dir, "b.raw")}
	for _, image := range images {
		written, err := Assemble(t.Context(), image, uuid, parts(t, dir))
		require.NoError(t, err)
		require.NoError(t, Verify(t.Context(), image, uuid, written))
	}
	first, err := os.ReadFile(images[0])
	require.NoError(t, err)
	second, err := os.ReadFile(images[1])
	require.NoError(t, err)
	assert.True(t, bytes.Equal(first, second), "the same parts give the same image")

	f, err := os.Open(images[0])
	require.NoError(t, err)
	defer f.Close()
	table, err := gpt.Read(f, sector, sector)
	require.NoError(t, err)
	require.NoError(t, table.Verify(f, uint64(len(first))))
	assert.Equal(t, StateLabel, table.Partitions[2].Name)
	assert.EqualValues(t, 13<<20, table.Partitions[2].Start*sector)
	assert.EqualValues(t, 2<<20, table.Partitions[2].Size)
	assert.Equal(t, byte('a'), first[13<<20])
	assert.Equal(t, byte('z'), first[14<<20])
}

func TestAssembleLeavesNothingHalfWritten(t *testing.T) {
	dir := t.TempDir()
	list := parts(t, dir)
	list[0].MiB = 1
	_, err := Assemble(t.Context(), filepath.Join(dir, "a.raw"), uuid, list)
	assert.ErrorContains(t, err, "partition esp: content has 2 MiB, the partition 1: make it larger")
	left, err := filepath.Glob(filepath.Join(dir, "a.raw*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}
