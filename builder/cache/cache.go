// Package cache keeps directories under the hash of what they were made from.
//
// An entry is made in a scratch directory and renamed into place, so an entry
// that exists is whole. Entries are never changed afterwards, and nothing here
// decides when an entry is stale: other inputs give another key.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"imgbuild/builder/space"
)

// Cache is the root directory of the cache. It must be on one file system.
type Cache struct {
	Root string
}

// Key is the hex SHA-256 of the JSON of parts, in order. Parts must be plain
// data: a value that JSON cannot hold is a programming error.
func Key(parts ...any) string {
	h := sha256.New()
	for _, p := range parts {
		b, err := json.Marshal(p)
		if err != nil {
			panic(fmt.Sprintf("cache key of %T: %v", p, err))
		}
		h.Write(b)
		h.Write([]byte{'\n'})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Path is where the entry of kind and key is, whether or not it exists yet.
func (c Cache) Path(kind, key string) string {
	return filepath.Join(c.Root, kind, key)
}

// Has reports whether the entry exists.
func (c Cache) Has(kind, key string) bool {
	_, err := os.Stat(c.Path(kind, key))
	return err == nil
}

// Dir returns the directory of the entry. Where there is none, fill makes its
// content in an empty scratch directory of the same file system; if fill fails
// nothing is kept. Two processes that want the same entry wait for each other.
// hit reports that the entry was there already.
func (c Cache) Dir(ctx context.Context, kind, key string, fill func(ctx context.Context, dir string) error) (path string, hit bool, err error) {
	path = c.Path(kind, key)
	if c.Has(kind, key) {
		return path, true, nil
	}
	unlock, err := c.lock(ctx, kind, key)
	if err != nil {
		return "", false, err
	}
	defer unlock()
	if c.Has(kind, key) {
		return path, true, nil
	}
	// The lock may have come at the very moment of the cancellation.
	if err := ctx.Err(); err != nil {
		return "", false, err
	}
	tmp, done, err := c.Scratch(kind)
	if err != nil {
		return "", false, err
	}
	defer done()
	entry := filepath.Join(tmp, "entry")
	if err := os.Mkdir(entry, 0o755); err != nil {
		return "", false, err
	}
	if err := fill(ctx, entry); err != nil {
		return "", false, space.Explain(err, c.Root, tmp)
	}
	if err := os.Rename(entry, path); err != nil {
		return "", false, fmt.Errorf("keep cache entry %s/%s: %w", kind, key, err)
	}
	return path, false, nil
}

// lock takes an advisory lock that the kernel drops when the process dies.
func (c Cache) lock(ctx context.Context, kind, key string) (func(), error) {
	dir := filepath.Join(c.Root, "locks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make cache directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, kindFile(kind)+"-"+key), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock cache entry: %w", err)
	}
	got := make(chan error, 1)
	go func() { got <- unix.Flock(int(f.Fd()), unix.LOCK_EX) }()
	select {
	case err := <-got:
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock cache entry %s/%s: %w", kind, key, err)
		}
	case <-ctx.Done():
		// Not before flock has returned: its descriptor would be another file's.
		go func() { <-got; f.Close() }()
		return nil, fmt.Errorf("wait for another process that makes %s/%s: %w", kind, key, ctx.Err())
	}
	return func() { f.Close() }, nil
}

func kindFile(kind string) string {
	b := []byte(kind)
	for i := range b {
		if b[i] == '/' {
			b[i] = '-'
		}
	}
	return string(b)
}
