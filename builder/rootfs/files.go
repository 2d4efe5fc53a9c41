package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

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
			if err := m.place(dir, Dirs(lower), f, component); err != nil {
				return fmt.Errorf("place %s: %w", f.Path, err)
			}
		}
		if err := m.units(ctx, lower, dir, content); err != nil {
			return err
		}
		return neutral(dir, m.Epoch)
	})
	if err != nil {
		return Layer{}, fmt.Errorf("make file layer: %w", err)
	}
	return Layer{dir, key}, nil
}

func (m Maker) place(dir string, lower []string, f File, component func(string) (string, error)) error {
	if !filepath.IsAbs(f.Path) || filepath.Clean(f.Path) != f.Path || f.Path == "/" {
		return errors.New("not a clean absolute path")
	}
	path := filepath.Join(dir, f.Path)
	if err := parents(dir, lower, f.Path); err != nil {
		return err
	}
	switch {
	case f.Dir:
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		return os.Chmod(path, fileMode(f.Mode, 0o755))
	case f.Link != "":
		return os.Symlink(f.Link, path)
	case f.From != "":
		return m.fromComponent(f, path, component)
	}
	return writeFile(path, f.Data, fileMode(f.Mode, 0o644))
}

func (m Maker) fromComponent(f File, path string, component func(string) (string, error)) error {
	name, rest, _ := strings.Cut(f.From, "/")
	if !filepath.IsLocal(rest) {
		return fmt.Errorf("from %q: want COMPONENT/FILE", f.From)
	}
	from, err := component(name)
	if err != nil {
		return err
	}
	host := filepath.Join(from, rest)
	info, err := os.Stat(host)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return copyTree(host, path)
	}
	mode := fileMode(f.Mode, 0o755)
	if m.mayLink(info, mode) && os.Link(host, path) == nil {
		return nil
	}
	return copyFile(host, path, mode)
}

// mayLink says whether a layer may share a component's file, which spares the
// disk a copy of what are the largest files of an image. The layer gives it its
// mode and time, so nobody may share it already who wants others.
func (m Maker) mayLink(info os.FileInfo, mode os.FileMode) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode() == mode && stat.Uid == 0 && stat.Gid == 0 &&
		(stat.Nlink == 1 || info.ModTime().Unix() == m.Epoch)
}

// copyTree copies a folder of plain files; what is executable stays so.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if info.Mode()&0o111 != 0 {
			mode = 0o755
		}
		return copyFile(p, filepath.Join(to, rel), mode)
	})
}

// parents makes the directories above path as the layers below have them: the
// topmost layer's mode and owner are the merged tree's.
func parents(dir string, lower []string, path string) error {
	names := strings.Split(strings.Trim(filepath.Dir(path), "/"), "/")
	for i := range names {
		rel := filepath.Join(names[:i+1]...)
		here := filepath.Join(dir, rel)
		if info, err := os.Lstat(here); err == nil && info.IsDir() {
			continue
		}
		info := topmost(lower, rel)
		if info != nil && !info.IsDir() {
			return fmt.Errorf("/%s is no directory in the tree (a link, as /bin and /lib are?): name the real path", rel)
		}
		if err := os.Mkdir(here, 0o755); err != nil {
			return err
		}
		if info == nil {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			if err := os.Chown(here, int(stat.Uid), int(stat.Gid)); err != nil {
				return err
			}
		}
		if err := os.Chmod(here, info.Mode()); err != nil {
			return err
		}
	}
	return nil
}

// topmost is what the merged layers have at rel, nil for nothing. A character
// device is overlayfs's mark of something removed.
func topmost(layers []string, rel string) os.FileInfo {
	for _, l := range slices.Backward(layers) {
		info, err := os.Lstat(filepath.Join(l, rel))
		if err != nil {
			continue
		}
		if info.Mode()&os.ModeCharDevice != 0 {
			return nil
		}
		return info
	}
	return nil
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
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
	for _, step := range []struct {
		verb  string
		names []string
	}{{"enable", c.Enable}, {"mask", c.Mask}} {
		if len(step.names) == 0 {
			continue
		}
		err := m.overlay(ctx, lower, dir, func(spec sandbox.Spec) error {
			spec.Argv = append([]string{"systemctl", "--root=/", step.verb}, step.names...)
			return sandbox.Run(ctx, spec)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fileMode maps the permission bits of chmod(2), set-user-id included, to
// Go's; zero stands for unset.
func fileMode(mode uint32, unset os.FileMode) os.FileMode {
	if mode == 0 {
		return unset
	}
	m := os.FileMode(mode & 0o777)
	for bit, flag := range map[uint32]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return m
}
