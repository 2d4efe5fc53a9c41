package space

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	assert.NoError(t, Check(dir, 1))
	assert.NoError(t, Check(filepath.Join(dir, "not", "yet", "there"), 1))
	err := Check(dir, 1<<60)
	assert.ErrorContains(t, err, "no space left on "+dir+" (needs 1099511627776 MiB, has ")
	assert.ErrorContains(t, err, "): free some, or name a place on a larger disk with --cache or --out")
}

func TestExplain(t *testing.T) {
	dir := t.TempDir()
	for _, cause := range []error{
		&fs.PathError{Op: "write", Path: "/x", Err: unix.ENOSPC},
		errors.New("mkfs.erofs: exit status 1: write: No space left on device"),
		fmt.Errorf("cp: %w", unix.EDQUOT),
	} {
		err := Explain(cause, dir, dir)
		assert.ErrorIs(t, err, cause)
		assert.ErrorContains(t, err, cause.Error()+": no space left on "+dir+" (needs more, has ")
		assert.Equal(t, err, Explain(err, "/", dir), "it is said once, where it was")
	}
	other := errors.New("mkfs.erofs: exit status 1: no such file")
	assert.Equal(t, other, Explain(other, dir, dir))
	assert.NoError(t, Explain(nil, dir, dir))
}

func TestUsedCountsNoHoles(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "sparse"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(1<<30))
	_, err = f.WriteAt(make([]byte, 64<<10), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	assert.Less(t, Used(dir), int64(1<<20))
	assert.GreaterOrEqual(t, Used(f.Name()), int64(64<<10))
	assert.Zero(t, Used(filepath.Join(dir, "gone")))
}

func TestWatch(t *testing.T) {
	watched, stop := Watch(t.Context(), t.TempDir())
	assert.NoError(t, watched.Err(), "there is space")
	stop()
	<-watched.Done()
	assert.ErrorIs(t, context.Cause(watched), context.Canceled)

	// Has no blocks, and so none is free.
	watched, stop = Watch(t.Context(), "/proc/self")
	defer stop()
	<-watched.Done()
	assert.ErrorIs(t, context.Cause(watched), unix.ENOSPC)
}
