// Package space says in time, and in words, when a disk is too small.
package space

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// FullError is a step that a full disk has stopped, or would.
type FullError struct {
	// Dir is on the disk.
	Dir string
	// Need and Have are bytes; Need is 0 where it is only known to be more.
	Need, Have int64
	// Cause is what the step said, nil for one that was not begun.
	Cause error
}

// Error names the disk, what it lacks and what to do.
func (e *FullError) Error() string {
	need := "more"
	if e.Need > 0 {
		need = size(e.Need)
	}
	full := fmt.Sprintf("no space left on %s (needs %s, has %s): free some, or name a place on a larger disk with --cache or --out",
		e.Dir, need, size(e.Have))
	if e.Cause == nil {
		return full
	}
	return fmt.Sprintf("%v: %s", e.Cause, full)
}

// Unwrap is what the step said.
func (e *FullError) Unwrap() error { return e.Cause }

// Check is an error where dir's disk has less than need bytes free.
func Check(dir string, need int64) error {
	have, err := free(dir)
	if err != nil || have >= need {
		return err
	}
	return &FullError{Dir: dir, Need: need, Have: have}
}

// Explain adds to an error of a full disk, dir's, how much there was for the
// step: what is free, and what the step has in made. Any other error stays as
// it is. It must be called before made is removed.
func Explain(err error, dir, made string) error {
	if err == nil || !isFull(err) || errors.As(err, new(*FullError)) {
		return err
	}
	have, freeErr := free(dir)
	if freeErr != nil {
		return err
	}
	have += Used(made)
	return &FullError{Dir: dir, Have: have, Cause: err}
}

// Watch gives a context for a program that hangs where it cannot write: it ends,
// with ENOSPC as its cause, when dir's disk is full. stop must be called.
func Watch(ctx context.Context, dir string) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-watched.Done():
				return
			case <-tick.C:
				if have, err := free(dir); err == nil && have < 1<<20 {
					cancel(unix.ENOSPC)
				}
			}
		}
	}()
	return watched, func() { cancel(nil) }
}

// isFull knows the errors of Go and the words of programs.
func isFull(err error) bool {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return true
	}
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "no space left") || strings.Contains(text, "disk quota exceeded")
}

// free is what the disk has where dir is, or will be: for root also the blocks
// that are reserved.
func free(dir string) (int64, error) {
	var s unix.Statfs_t
	err := unix.Statfs(dir, &s)
	for errors.Is(err, unix.ENOENT) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, &s)
	}
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	if os.Geteuid() == 0 {
		return int64(s.Bfree) * s.Bsize, nil
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// Used is how many bytes of the disk the file, or all below the directory,
// takes: holes count nothing. What cannot be read counts nothing either.
func Used(path string) int64 {
	var blocks int64
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil {
			blocks += blocksOf(info)
		}
		return nil
	})
	return blocks * 512
}

func blocksOf(info os.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks
	}
	return 0
}

func size(bytes int64) string { return fmt.Sprintf("%d MiB", (bytes+1<<20-1)>>20) }
