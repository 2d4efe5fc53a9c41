package disk

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// assemble writes an image of three partitions, the second one empty.
func assemble(t *testing.T, dir, image string) []Written {
	t.Helper()
	file := filepath.Join(dir, "content")
	// One byte over a MiB, most of it zeros: rounded up, and a hole.
	data := make([]byte, 1<<20+1)
	data[0], data[1<<20] = 'a', 'z'
	require.NoError(t, os.WriteFile(file, data, 0o644))
	m, err := Create(image, parts())
	require.NoError(t, err)
	defer m.Close()
	// The last one first: their order does not matter.
	for _, i := range []int{2, 0} {
		require.NoError(t, m.Write(t.Context(), i, file))
	}
	written, err := m.Finish(uuid)
	require.NoError(t, err)
	require.NoError(t, m.Sync())
	require.NoError(t, m.Close())
	return written
}

func parts() []Partition {
	return []Partition{
		{Name: "esp", Type: TypeESP, UUID: "11111111-2222-4333-8444-555555555501", MiB: 4},
		{Name: "_empty", Type: TypeRoot, UUID: "11111111-2222-4333-8444-555555555502", MiB: 8},
		{Name: StateLabel, Type: TypeState, UUID: "11111111-2222-4333-8444-555555555503"},
	}
}

func TestImage(t *testing.T) {
	dir := t.TempDir()
	images := [2]string{filepath.Join(dir, "a.raw"), filepath.Join(dir, "b.raw")}
	for _, image := range images {
		_, err := Verify(t.Context(), image, uuid, assemble(t, dir, image))
		require.NoError(t, err)
	}
	first, err := os.ReadFile(images[0])
	require.NoError(t, err)
	second, err := os.ReadFile(images[1])
	require.NoError(t, err)
	assert.True(t, bytes.Equal(first, second), "the same parts give the same image")
	assert.Len(t, first, 16<<20)

	f, err := os.Open(images[0])
	require.NoError(t, err)
	defer f.Close()
	table, err := gpt.Read(f, sector, sector)
	require.NoError(t, err)
	require.NoError(t, table.Verify(f, uint64(len(first))))
	assert.True(t, table.ProtectiveMBR)
	assert.Equal(t, StateLabel, table.Partitions[2].Name)
	assert.EqualValues(t, 13<<20, table.Partitions[2].Start*sector)
	assert.EqualValues(t, 2<<20, table.Partitions[2].Size)
	assert.Equal(t, byte('a'), first[13<<20])
	assert.Equal(t, byte('z'), first[14<<20])
}

// TestImageIsSparse: what is zero takes no room on the disk, whether it was a
// hole or not.
func TestImageIsSparse(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "a.raw")
	assemble(t, dir, image)
	info, err := os.Stat(image)
	require.NoError(t, err)
	stat, ok := info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	assert.Less(t, stat.Blocks*512, int64(6<<20), "2 tables of 1 MiB and 4 blocks of content, of 16 MiB")
}

func TestImageThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "content")
	require.NoError(t, os.WriteFile(file, make([]byte, 5<<20), 0o644))
	m, err := Create(filepath.Join(dir, "a.raw"), parts())
	require.NoError(t, err)
	defer m.Close()
	assert.EqualError(t, m.Write(t.Context(), 0, file),
		"write image: partition esp: content has 5 MiB, the partition 4: make it larger in the role's disk layout")
	assert.ErrorIs(t, m.Write(t.Context(), 0, file+".gone"), os.ErrNotExist)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, m.Write(ctx, 2, file), context.Canceled)

	_, err = Create(filepath.Join(dir, "b.raw"), append([]Partition{{Name: "first"}}, parts()...))
	assert.EqualError(t, err, "write image: partition first: no size in the role's disk layout")
	assert.NoFileExists(t, filepath.Join(dir, "b.raw"))
}
