package disk

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// kept makes a partition in an image and gives the compressed copy of it.
func kept(t *testing.T, content []byte) (packed, sum string) {
	t.Helper()
	dir := t.TempDir()
	m, err := Create(filepath.Join(dir, "a.raw"), parts())
	require.NoError(t, err)
	defer m.Close()
	packed = filepath.Join(dir, "packed")
	sum, err = m.Make(t.Context(), 2, int64(len(content)), packed, func(image string, offset int64) error {
		f, err := os.OpenFile(image, os.O_WRONLY, 0)
		require.NoError(t, err)
		defer f.Close()
		_, err = f.WriteAt(content, offset)
		return err
	})
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256(content)), sum)
	written, err := m.Finish(uuid)
	require.NoError(t, err)
	_, err = Verify(t.Context(), filepath.Join(dir, "a.raw"), uuid, written)
	require.NoError(t, err)
	assert.Less(t, allocated(t, filepath.Join(dir, "a.raw")), int64(5<<20), "two tables of 1 MiB, and no zeros")
	return packed, sum
}

// allocated is what a file takes of the disk.
func allocated(t *testing.T, file string) int64 {
	t.Helper()
	var stat unix.Stat_t
	require.NoError(t, unix.Stat(file, &stat))
	return stat.Blocks * 512
}

// unpacked writes the copy into an image of its own.
func unpacked(t *testing.T, size int64, packed, sum string) (image string, written []Written, err error) {
	t.Helper()
	image = filepath.Join(t.TempDir(), "b.raw")
	m, err := Create(image, parts())
	require.NoError(t, err)
	defer m.Close()
	if err := m.Unpack(t.Context(), 2, size, packed, sum); err != nil {
		return "", nil, err
	}
	written, err = m.Finish(uuid)
	return image, written, err
}

// TestAPartitionIsKept: the copy makes the same partition, with holes where
// there are only zeros.
func TestAPartitionIsKept(t *testing.T) {
	content := make([]byte, 6<<20)
	copy(content[1<<20:], strings.Repeat("content ", 1000))
	content[len(content)-1] = 'z'
	packed, sum := kept(t, content)
	image, written, err := unpacked(t, int64(len(content)), packed, sum)
	require.NoError(t, err)
	_, err = Verify(t.Context(), image, uuid, written)
	require.NoError(t, err)
	assert.Equal(t, sum, written[2].SHA256)
	data, err := os.ReadFile(image)
	require.NoError(t, err)
	assert.Equal(t, content, data[written[2].Start:written[2].Start+written[2].Content])
	info, err := os.Stat(packed)
	require.NoError(t, err)
	assert.Less(t, info.Size(), int64(len(content)/10))
}

func TestAKeptPartitionThatIsNotWhole(t *testing.T) {
	packed, sum := kept(t, []byte(strings.Repeat("content ", 1000)))
	_, _, err := unpacked(t, 8000, packed, strings.Repeat("0a", 32))
	assert.ErrorContains(t, err, "write image: partition imgbuild-state: "+packed+" has SHA-256 "+sum+" unpacked, want 0a0a")
	_, _, err = unpacked(t, 9000, packed, sum)
	assert.ErrorContains(t, err, "unpack "+packed+": unexpected EOF")
	require.NoError(t, os.Truncate(packed, 20))
	_, _, err = unpacked(t, 8000, packed, sum)
	assert.ErrorContains(t, err, "unpack "+packed)
	require.NoError(t, os.Remove(packed))
	_, _, err = unpacked(t, 8000, packed, sum)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestAPartitionThatCannotBeMade(t *testing.T) {
	dir := t.TempDir()
	m, err := Create(filepath.Join(dir, "a.raw"), parts())
	require.NoError(t, err)
	defer m.Close()
	packed := filepath.Join(dir, "packed")
	_, err = m.Make(t.Context(), 2, 10, packed, func(string, int64) error { return errors.New("mke2fs: exit 1") })
	assert.EqualError(t, err, "write image: partition imgbuild-state: mke2fs: exit 1")
	_, err = m.Make(t.Context(), 0, 5<<20, packed, nil)
	assert.ErrorContains(t, err, "write image: partition esp: content has 5 MiB, the partition 4")
}
