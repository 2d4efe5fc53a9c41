package lab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// rawFile is the file of a raw disk in the machine's directory. It has holes
// where nothing was ever written.
func rawFile(serial string) string { return rawPrefix + serial + ".img" }

const rawPrefix = "raw-"

// makeRaw makes an empty disk where there is none.
func (m machine) makeRaw(d RawDisk) error {
	f, err := os.OpenFile(filepath.Join(m.dir, rawFile(d.Serial)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = errors.Join(f.Truncate(d.Bytes), f.Close())
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// rawDisks are the files of the machine's raw disks.
func (m machine) rawDisks() []string {
	files, _ := filepath.Glob(filepath.Join(m.dir, rawPrefix+"*")) // only the pattern could be wrong
	return files
}

// forget removes all that the machine has except its raw disks.
func (m machine) forget() error {
	keep := m.rawDisks()
	entries, err := os.ReadDir(m.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if path := filepath.Join(m.dir, e.Name()); !slices.Contains(keep, path) {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	if len(keep) > 0 || err != nil {
		return err
	}
	return os.Remove(m.dir)
}
