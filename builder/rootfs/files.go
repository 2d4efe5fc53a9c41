package rootfs

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"imgbuild/builder/cache"
	"imgbuild/builder/sandbox"
)

// Content is what a layer of plain files holds.
type Content struct {
	Files []File `json:"files"`
	// Enable and Mask are systemd units.
	Enable []string `json:"enable"`
	Mask   []string `json:"mask"`
	// Inputs are the keys of the components that Files name.
	Inputs map[string]string `json:"inputs"`
}

// Files makes the layer of plain files on top of lower. component gives the
// directory of a component by its name.
func (m Maker) Files(ctx context.Context, lower []Layer, content Content, component func(name string) (string, error)) (Layer, error) {
	key := cache.Key(format, "files", m.Epoch, Keys(lower), content)
	dir, _, err := m.Cache.Dir(ctx, "layers", key, func(ctx context.Context, dir string) error {
		m.Log.Info("make file layer", "files", len(content.Files))
		for _, f := range content.Files {
			if err := place(dir, f, component); err != nil {
				return fmt.Errorf("place %s: %w", f.Path, err)
			}
		}
		if err := m.units(ctx, lower, dir, content); err != nil {
			return err
		}
		return setTimes(dir, m.Epoch)
	})
	if err != nil {
		return Layer{}, fmt.Errorf("make file layer: %w", err)
	}
	return Layer{dir, key}, nil
}

func place(dir string, f File, component func(string) (string, error)) error {
	path := filepath.Join(dir, f.Path)
	switch {
	case f.Dir:
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		return os.Chmod(path, fileMode(f.Mode))
	case f.Link != "":
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.Symlink(f.Link, path)
	case f.From != "":
		name, rest, _ := strings.Cut(f.From, "/")
		from, err := component(name)
		if err != nil {
			return err
		}
		return copyFile(filepath.Join(from, rest), path, fileMode(f.Mode))
	}
	return writeFile(path, f.Data, fileMode(f.Mode))
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Chmod(to, mode)
}

// units enables and masks with the tree's own systemctl, so that its rules
// for aliases and presets hold.
func (m Maker) units(ctx context.Context, lower []Layer, dir string, c Content) error {
	for verb, names := range map[string][]string{"enable": c.Enable, "mask": c.Mask} {
		if len(names) == 0 {
			continue
		}
		err := m.overlay(ctx, lower, dir, func(spec sandbox.Spec) error {
			spec.Argv = append([]string{"systemctl", "--root=/", verb}, names...)
			return sandbox.Run(ctx, spec)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// setTimes gives everything below dir the time of the epoch.
func setTimes(dir string, epoch int64) error {
	t := time.Unix(epoch, 0)
	return filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.Type()&os.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(p, t, t)
	})
}

// fileMode maps the permission bits of chmod(2), set-user-id included, to Go's.
func fileMode(mode uint32) os.FileMode {
	m := os.FileMode(mode & 0o777)
	for bit, flag := range map[uint32]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return m
}
