package images

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"imgbuild/builder/rootfs"
)

// Where containerd 2 keeps its parts below its root directory.
const (
	contentDir  = "io.containerd.content.v1.content"
	metadataDB  = "io.containerd.metadata.v1.bolt/meta.db"
	snapshotDir = "io.containerd.snapshotter.v1.overlayfs"
	snapshotDB  = snapshotDir + "/metadata.db"
)

// settle makes a store that containerd has left independent of when it was
// made: blobs that nothing names go, databases are written anew with every time
// the epoch, and only the parts that hold something stay.
func settle(store string, epoch int64) error {
	blobs, err := namedBlobs(filepath.Join(store, metadataDB))
	if err != nil {
		return err
	}
	if err := dropBlobs(filepath.Join(store, contentDir, "blobs/sha256"), blobs); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(store, contentDir, "ingest")); err != nil {
		return err
	}
	for _, db := range []string{metadataDB, snapshotDB} {
		if err := rewrite(filepath.Join(store, db), time.Unix(epoch, 0).UTC()); err != nil {
			return fmt.Errorf("%s: %w", db, err)
		}
	}
	if err := dropEmptyParts(store); err != nil {
		return err
	}
	return filepath.WalkDir(store, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return rootfs.SetTime(p, epoch)
	})
}

// dropEmptyParts removes what containerd's other plugins left.
func dropEmptyParts(store string) error {
	entries, err := os.ReadDir(store)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.Name() {
		case contentDir, filepath.Dir(metadataDB), snapshotDir:
			continue
		}
		if err := os.RemoveAll(filepath.Join(store, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// namedBlobs are the hex digests that the metadata database knows, in any
// namespace: v1/NAMESPACE/content/blob/DIGEST (containerd, core/metadata).
func namedBlobs(file string) (map[string]bool, error) {
	db, err := openDB(file, true)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	named := map[string]bool{}
	err = db.View(func(tx *bbolt.Tx) error {
		root := tx.Bucket([]byte("v1"))
		if root == nil {
			return errors.New("no bucket v1: another containerd than this imgbuild knows made it")
		}
		return root.ForEachBucket(func(namespace []byte) error {
			content := root.Bucket(namespace).Bucket([]byte("content"))
			if content == nil || content.Bucket([]byte("blob")) == nil {
				return nil
			}
			return content.Bucket([]byte("blob")).ForEachBucket(func(digest []byte) error {
				_, hash, _ := bytes.Cut(digest, []byte(":"))
				named[string(hash)] = true
				return nil
			})
		})
	})
	return named, err
}

func dropBlobs(dir string, keep map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if keep[e.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func openDB(file string, readOnly bool) (*bbolt.DB, error) {
	db, err := bbolt.Open(file, 0o644, &bbolt.Options{ReadOnly: readOnly, Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Base(file), err)
	}
	return db, nil
}

// rewrite copies a database in key order, so that its pages do not show the
// order of writes, with every creation and update time the given one.
func rewrite(file string, when time.Time) error {
	stamp, err := when.MarshalBinary()
	if err != nil {
		return err
	}
	from, err := openDB(file, true)
	if err != nil {
		return err
	}
	defer from.Close()
	fresh := file + ".new"
	to, err := openDB(fresh, false)
	if err != nil {
		return err
	}
	defer to.Close()
	to.NoSync = true // one sync at the end is enough
	err = from.View(func(src *bbolt.Tx) error {
		return src.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return copyBucket(to, [][]byte{name}, b, stamp)
		})
	})
	err = errors.Join(err, to.Sync())
	if err := errors.Join(err, to.Close()); err != nil {
		return err
	}
	return os.Rename(fresh, file)
}

// copyBucket copies the bucket at the path and those in it, each in a
// transaction of its own: bbolt gives the buckets of one transaction their
// pages in the random order of a map.
func copyBucket(to *bbolt.DB, path [][]byte, from *bbolt.Bucket, stamp []byte) error {
	err := to.Update(func(tx *bbolt.Tx) error {
		into, err := makeBucket(tx, path)
		if err != nil {
			return err
		}
		if err := into.SetSequence(from.Sequence()); err != nil {
			return err
		}
		return from.ForEach(func(key, value []byte) error {
			if value == nil {
				return nil // a bucket
			}
			if k := string(key); k == "createdat" || k == "updatedat" {
				value = stamp
			}
			return into.Put(key, value)
		})
	})
	if err != nil {
		return err
	}
	return from.ForEachBucket(func(key []byte) error {
		return copyBucket(to, append(slices.Clone(path), key), from.Bucket(key), stamp)
	})
}

// makeBucket makes the last bucket of a path; those before it are there.
func makeBucket(tx *bbolt.Tx, path [][]byte) (*bbolt.Bucket, error) {
	if len(path) == 1 {
		return tx.CreateBucket(path[0])
	}
	b := tx.Bucket(path[0])
	for _, name := range path[1 : len(path)-1] {
		b = b.Bucket(name)
	}
	return b.CreateBucket(path[len(path)-1])
}
