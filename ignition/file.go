package ignition

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// WriteFile replaces the file at path with data that only its owner may read.
// Whatever happens, the file is the old one or the new one, whole.
func WriteFile(ctx context.Context, path string, data []byte) error {
	return publish(ctx, path, data, os.Rename)
}

// publish writes data to a temporary file beside path, mode 0600, and gives it
// its name with put, which is os.Rename to replace a file and os.Link to make
// one that must not exist.
func publish(ctx context.Context, path string, data []byte, put func(tmp, path string) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// After os.Rename there is nothing left to remove.
	defer os.Remove(tmp.Name())
	if err := fill(tmp, data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := put(tmp.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// fill writes, syncs and closes f.
func fill(f *os.File, data []byte) error {
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// syncDir makes a new name outlive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
