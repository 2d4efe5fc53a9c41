package disk

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const otherUUID = "99999999-2222-4333-8444-555555555599"

// change opens the image for writing.
func change(t *testing.T, image string, f func(*os.File)) {
	t.Helper()
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	require.NoError(t, err)
	defer file.Close()
	f(file)
}

// flipAt changes one bit.
func flipAt(offset int64) func(*testing.T, string) {
	return func(t *testing.T, image string) {
		change(t, image, func(f *os.File) {
			b := make([]byte, 1)
			_, err := f.ReadAt(b, offset)
			require.NoError(t, err)
			b[0] ^= 1
			_, err = f.WriteAt(b, offset)
			require.NoError(t, err)
		})
	}
}

// edit writes another partition table, with right checksums.
func edit(f func(*gpt.Table)) func(*testing.T, string) {
	return func(t *testing.T, image string) {
		change(t, image, func(file *os.File) {
			table, err := gpt.Read(file, sector, sector)
			require.NoError(t, err)
			f(table)
			info, err := file.Stat()
			require.NoError(t, err)
			require.NoError(t, table.Write(file, info.Size()))
		})
	}
}

// truncate leaves only so many bytes.
func truncate(size int64) func(*testing.T, string) {
	return func(t *testing.T, image string) { require.NoError(t, os.Truncate(image, size)) }
}

// TestVerifyRefuses changes a good image in every way that could go unseen.
func TestVerifyRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*testing.T, string)
		want   string
	}{
		"byte of the first partition": {flipAt(1 << 20), "a.raw: partition 1 (esp): its content has SHA-256 "},
		"byte of the last partition":  {flipAt(14 << 20), "a.raw: partition 3 (imgbuild-state): its content has SHA-256 "},
		"byte in a hole":              {flipAt(1<<20 + 5000), "a.raw: partition 1 (esp): its content has SHA-256 "},
		"disk UUID": {edit(func(table *gpt.Table) { table.GUID = otherUUID }),
			"a.raw: disk UUID is " + otherUUID + ", want " + uuid},
		"partition UUID": {edit(func(table *gpt.Table) { table.Partitions[1].GUID = otherUUID }),
			"a.raw: partition 2 (_empty): it is _empty of type " + TypeRoot + " with UUID " + otherUUID + ", want _empty"},
		"partition type": {edit(func(table *gpt.Table) { table.Partitions[1].Type = TypeVerity }),
			"a.raw: partition 2 (_empty): it is _empty of type " + TypeVerity},
		"partition name": {edit(func(table *gpt.Table) { table.Partitions[2].Name = "state" }),
			"a.raw: partition 3 (imgbuild-state): it is state of type"},
		"partition size": {edit(func(table *gpt.Table) {
			p := table.Partitions[1]
			p.End -= 2048
			p.Size -= 1 << 20
		}), "a.raw: partition 2 (_empty): it has 7340032 bytes from 5242880, want 8388608 from 5242880"},
		"partition gone": {edit(func(table *gpt.Table) { table.Partitions = table.Partitions[:2] }), "a.raw: 2 partitions, want 3"},
		"no table at all": {func(t *testing.T, image string) {
			require.NoError(t, os.WriteFile(image, make([]byte, 16<<20), 0o644))
		}, "a.raw: read partition table: "},
		"cut in a partition":   {truncate(14 << 20), "a.raw: "},
		"cut in the first one": {truncate(1<<20 + 1000), "a.raw: "},
		"cut in the table":     {truncate(1000), "a.raw: read partition table: "},
		"empty":                {truncate(0), "a.raw: read partition table: "},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			image := filepath.Join(dir, "a.raw")
			written, err := Assemble(t.Context(), image, uuid, parts(t, dir))
			require.NoError(t, err)
			require.NoError(t, Verify(t.Context(), image, uuid, written))
			c.change(t, image)
			assert.ErrorContains(t, Verify(t.Context(), image, uuid, written), c.want)
		})
	}
}

// TestVerifyWantsWhatWasWritten has a good image and another description of it,
// as a manifest of another build would be.
func TestVerifyWantsWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "a.raw")
	written, err := Assemble(t.Context(), image, uuid, parts(t, dir))
	require.NoError(t, err)
	other := slices.Clone(written)
	other[0].SHA256 = other[0].SHA256[1:] + "0"
	assert.ErrorContains(t, Verify(t.Context(), image, uuid, other), "partition 1 (esp): its content")
	assert.ErrorContains(t, Verify(t.Context(), image, uuid, written[:2]), "3 partitions, want 2")
	assert.ErrorIs(t, Verify(t.Context(), image+".gone", uuid, written), os.ErrNotExist)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, Verify(ctx, image, uuid, written), context.Canceled)
}

func TestAssembleStops(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Assemble(ctx, filepath.Join(dir, "a.raw"), uuid, parts(t, dir))
	assert.ErrorIs(t, err, context.Canceled)
	left, err := filepath.Glob(filepath.Join(dir, "a.raw*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}
