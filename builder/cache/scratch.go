package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lockSuffix makes the name of the file beside a scratch directory that its
// process holds locked for as long as it lives.
const lockSuffix = ".lock"

// Scratch makes an empty directory on the cache's file system and the function
// that removes it.
func (c Cache) Scratch(name string) (dir string, done func(), err error) {
	parent := filepath.Join(c.Root, "scratch")
	for _, d := range []string{parent, filepath.Join(c.Root, name)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return "", nil, fmt.Errorf("make cache directory: %w", err)
		}
	}
	lock, err := lockNew(parent, filepath.Base(name))
	if err != nil {
		return "", nil, fmt.Errorf("make scratch directory: %w", err)
	}
	dir = strings.TrimSuffix(lock.Name(), lockSuffix)
	done = func() {
		removeAll(dir)
		os.Remove(lock.Name())
		lock.Close()
	}
	err = os.Mkdir(dir, 0o755)
	if err == nil {
		// Trees in scratch are read by other users' sandboxes (apt drops to _apt).
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		done()
		return "", nil, fmt.Errorf("make scratch directory: %w", err)
	}
	return dir, done, nil
}

// lockNew makes a file with a name of its own and locks it.
func lockNew(dir, name string) (*os.File, error) {
	for {
		f, err := os.CreateTemp(dir, name+"-*"+lockSuffix)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			f.Close()
			os.Remove(f.Name())
			return nil, err
		}
		// Between the two, Sweep may have taken it for a dead process's.
		var stat unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &stat); err == nil && stat.Nlink > 0 {
			return f, nil
		}
		f.Close()
	}
}

// Sweep removes the scratch directories of processes that have died without
// removing them, and says how many those were.
func (c Cache) Sweep() (int, error) {
	locks, err := filepath.Glob(filepath.Join(c.Root, "scratch", "*"+lockSuffix))
	if err != nil {
		return 0, err
	}
	swept := 0
	for _, name := range locks {
		removed, err := sweepOne(name)
		if err != nil {
			return swept, fmt.Errorf("remove what a dead process left in the cache: %w", err)
		}
		if removed {
			swept++
		}
	}
	return swept, nil
}

func sweepOne(name string) (bool, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return false, ignoreMissing(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		// Its process lives.
		return false, nil
	}
	removeAll(strings.TrimSuffix(name, lockSuffix))
	if err := os.Remove(name); err != nil {
		// Gone: its process was only just done.
		return false, ignoreMissing(err)
	}
	return true, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeAll also removes directories that their content made read-only.
func removeAll(dir string) {
	if os.RemoveAll(dir) == nil {
		return
	}
	_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(p, 0o700)
		}
		return nil
	})
	_ = os.RemoveAll(dir)
}
