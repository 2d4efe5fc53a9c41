package images

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

// store makes what containerd leaves: two databases whose pages and times show
// when and in which order they were written, blobs, and other plugins' folders.
func store(t *testing.T, now time.Time, order ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{
		contentDir + "/blobs/sha256/kept", contentDir + "/blobs/sha256/layer", contentDir + "/ingest/1/data",
		snapshotDir + "/snapshots/1/fs/program", "io.containerd.other.v1/file",
	} {
		put(t, dir, name, []byte(name))
	}
	stamp, err := now.MarshalBinary()
	require.NoError(t, err)
	for file, path := range map[string][]string{
		metadataDB: {"v1", "k8s.io", "content", "blob"}, snapshotDB: {"v1", "snapshots"},
	} {
		put(t, dir, filepath.Dir(file)+"/x", nil)
		require.NoError(t, os.Remove(filepath.Join(dir, filepath.Dir(file), "x")))
		db, err := openDB(filepath.Join(dir, file), false)
		require.NoError(t, err)
		for _, name := range order {
			require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
				return fill(tx, append(slices.Clone(path), name), stamp)
			}))
		}
		require.NoError(t, db.Close())
	}
	return dir
}

func fill(tx *bbolt.Tx, path []string, stamp []byte) error {
	b, err := tx.CreateBucketIfNotExists([]byte(path[0]))
	if err != nil {
		return err
	}
	for _, name := range path[1:] {
		if b, err = b.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
	}
	for _, key := range []string{"createdat", "updatedat"} {
		if err := b.Put([]byte(key), stamp); err != nil {
			return err
		}
	}
	return b.Put([]byte("size"), []byte{42})
}

// TestSettle: two stores of the same content, made at other times in another
// order, are the same afterwards.
func TestSettle(t *testing.T) {
	first := store(t, time.Unix(1_800_000_000, 1), "sha256:kept", "sha256:other")
	second := store(t, time.Unix(1_900_000_000, 2), "sha256:other", "sha256:kept")
	for _, dir := range []string{first, second} {
		require.NoError(t, settle(dir, epoch))
	}
	assert.Equal(t, sums(t, first), sums(t, second))

	var left []string
	for name := range sums(t, first) {
		left = append(left, strings.TrimPrefix(name, "/"))
		info, err := os.Stat(filepath.Join(first, name))
		require.NoError(t, err)
		assert.EqualValues(t, epoch, info.ModTime().Unix(), name)
	}
	slices.Sort(left)
	assert.Equal(t, []string{
		contentDir + "/blobs/sha256/kept", metadataDB, snapshotDB, snapshotDir + "/snapshots/1/fs/program",
	}, left, "layers that are unpacked and what was never finished are gone")

	db, err := openDB(filepath.Join(first, metadataDB), true)
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.View(func(tx *bbolt.Tx) error {
		blob := tx.Bucket([]byte("v1")).Bucket([]byte("k8s.io")).Bucket([]byte("content")).Bucket([]byte("blob")).Bucket([]byte("sha256:kept"))
		var created time.Time
		require.NoError(t, created.UnmarshalBinary(blob.Get([]byte("createdat"))))
		assert.EqualValues(t, epoch, created.Unix())
		assert.Equal(t, []byte{42}, blob.Get([]byte("size")), "nothing else is changed")
		return nil
	}))
}

func TestSettleUnknownStore(t *testing.T) {
	dir := store(t, time.Unix(1, 0), "sha256:kept")
	require.NoError(t, os.Remove(filepath.Join(dir, metadataDB)))
	db, err := openDB(filepath.Join(dir, metadataDB), false)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	assert.ErrorContains(t, settle(dir, epoch), "no bucket v1: another containerd")
}
