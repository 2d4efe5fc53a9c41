package disk

import (
	"context"
	"crypto/sha256"
	"fmt"
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
		"byte of an empty partition":  {flipAt(6 << 20), "a.raw: bytes from 6291456 to "},
		"byte after a content":        {flipAt(14<<20 + 1), "a.raw: bytes from 14680065 to "},
		"master boot record":          {flipAt(446), "a.raw: its partition table has SHA-256 "},
		"primary header":              {flipAt(512 + 40), "a.raw: its partition table is damaged, only the backup is whole"},
		"primary signature":           {flipAt(512), "a.raw: its partition table is damaged, only the backup is whole"},
		"primary entry":               {flipAt(2*512 + 60), "a.raw: its partition table is damaged, only the backup is whole"},
		"after the primary entries":   {flipAt(34 * 512), "a.raw: its partition table has SHA-256 "},
		"backup header":               {flipAt(16<<20 - 512 + 40), "a.raw: the backup of its partition table has SHA-256 "},
		"backup signature":            {flipAt(16<<20 - 512), "a.raw: the backup of its partition table has SHA-256 "},
		"backup entry":                {flipAt(16<<20 - 33*512 + 60), "a.raw: the backup of its partition table has SHA-256 "},
		"last byte":                   {flipAt(16<<20 - 1), "a.raw: the backup of its partition table has SHA-256 "},
		"longer":                      {truncate(17 << 20), "a.raw: it has 17825792 bytes, want 16777216"},
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
			written := assemble(t, dir, image)
			_, err := Verify(t.Context(), image, uuid, written)
			require.NoError(t, err)
			c.change(t, image)
			_, err = Verify(t.Context(), image, uuid, written)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

// TestVerifyWantsWhatWasWritten has a good image and another description of it,
// as a manifest of another build would be.
func TestVerifyWantsWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "a.raw")
	written := assemble(t, dir, image)
	refused := func(ctx context.Context, image string, want []Written) error {
		sum, err := Verify(ctx, image, uuid, want)
		assert.Empty(t, sum)
		return err
	}
	other := slices.Clone(written)
	other[0].SHA256 = other[0].SHA256[1:] + "0"
	assert.ErrorContains(t, refused(t.Context(), image, other), "partition 1 (esp): its content")
	assert.ErrorContains(t, refused(t.Context(), image, written[:2]), "3 partitions, want 2")
	assert.ErrorIs(t, refused(t.Context(), image+".gone", written), os.ErrNotExist)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, refused(ctx, image, written), context.Canceled)
}

// TestVerifyGivesTheDigest of the whole file, holes and all.
func TestVerifyGivesTheDigest(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "a.raw")
	written := assemble(t, dir, image)
	sum, err := Verify(t.Context(), image, uuid, written)
	require.NoError(t, err)
	data, err := os.ReadFile(image)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256(data)), sum)
	assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256(data[1<<20:2<<20+1])), written[0].SHA256)
	// The same bytes without a hole.
	full := filepath.Join(dir, "full.raw")
	require.NoError(t, os.WriteFile(full, data, 0o644))
	again, err := Verify(t.Context(), full, uuid, written)
	require.NoError(t, err)
	assert.Equal(t, sum, again)
}
