// Package roles holds what each role's image is made from, as data, and turns
// a role into a builder.Plan.
//
// A role is a folder with a role.yaml and, where it has files of its own, a
// rootfs/ overlay. It is composed of parts: folders of the same form below
// parts/ that several roles share. What a distribution release calls its
// packages is in bases/. A folder of the user's own may add roles, parts and
// bases, or replace ours by name; no role is known to any Go code.
//
// Resolve is pure: a cluster, a role and imgbuild.lock give a Plan. Pin, which
// makes the lock, reaches the network. Nothing here builds anything.
package roles

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"imgbuild/builder/rootfs"
)

//go:embed all:bases all:etcd all:harbor all:lb all:master all:parts all:rook all:worker
var embedded embed.FS

// Source is where roles, parts and bases are read from: a folder of the user's
// own first, then ours.
type Source struct{ own fs.FS }

// NewSource reads from the folder dir before our own roles; empty for ours only.
func NewSource(dir string) (Source, error) {
	if dir == "" {
		return Source{}, nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return Source{}, fmt.Errorf("folder of own roles: %w", err)
	}
	if !info.IsDir() {
		return Source{}, fmt.Errorf("folder of own roles %s: not a directory", dir)
	}
	return Source{own: os.DirFS(dir)}, nil
}

// Names lists the roles that can be built, sorted.
func (s Source) Names() ([]string, error) {
	var names []string
	for _, from := range s.all() {
		found, err := fs.Glob(from, "*/role.yaml")
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if name := path.Dir(f); roleName.MatchString(name) && !slices.Contains(taken, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (s Source) all() []fs.FS {
	if s.own == nil {
		return []fs.FS{embedded}
	}
	return []fs.FS{s.own, embedded}
}

// in returns the file system that has the file: the user's own comes first.
func (s Source) in(file string) (fs.FS, error) {
	for _, from := range s.all() {
		_, err := fs.Stat(from, file)
		if err == nil {
			return from, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s: %w", file, fs.ErrNotExist)
}

// decode reads a YAML file strictly: an unknown key is an error.
func (s Source) decode(file string, into any) (fs.FS, error) {
	from, err := s.in(file)
	if err != nil {
		return nil, err
	}
	data, err := fs.ReadFile(from, file)
	if err != nil {
		return nil, err
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return from, nil
}

// overlay lists the files below a folder's rootfs/, sorted by path. What starts
// with #! is made executable: embedded files have no modes.
func overlay(from fs.FS, folder string) ([]rootfs.File, error) {
	root := path.Join(folder, "rootfs")
	var files []rootfs.File
	err := fs.WalkDir(from, root, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && p == root {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(from, p)
		if err != nil {
			return err
		}
		files = append(files, plainFile(strings.TrimPrefix(p, root), data))
		return nil
	})
	return files, err
}

func plainFile(to string, data []byte) rootfs.File {
	f := rootfs.File{Path: to, Mode: 0o644, Data: data}
	if bytes.HasPrefix(data, []byte("#!")) {
		f.Mode = 0o755
	}
	return f
}
