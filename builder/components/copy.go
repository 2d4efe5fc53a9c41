package components

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// takeFromModule copies what Spec.Copy names into dir.
func (w workspace) takeFromModule(ctx context.Context, dir string) error {
	if len(w.spec.Copy) == 0 {
		return nil
	}
	module, err := w.moduleDir(ctx)
	if err != nil {
		return err
	}
	for _, c := range w.spec.Copy {
		if err := copyTree(filepath.Join(module, c.From), filepath.Join(dir, c.To)); err != nil {
			return fmt.Errorf("copy %s of module %s: %w", c.From, w.spec.Module, err)
		}
	}
	return nil
}

// copyTree copies a file or a directory of a module. Module archives keep no modes, so
// a file that starts with "#!" becomes executable and any other does not.
// Ref: go.dev/ref/mod#zip-files.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if bytes.HasPrefix(data, []byte("#!")) {
			mode = 0o755
		}
		return os.WriteFile(target, data, mode)
	})
}
