package roles

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"imgbuild/builder/components"
	"imgbuild/builder/images"
	"imgbuild/builder/packages"
)

// LockVersion is the only accepted version of imgbuild.lock.
const LockVersion = 2

// Lock is imgbuild.lock: everything that is not decided by cluster.yaml and
// this imgbuild alone, pinned.
type Lock struct {
	Version int `json:"version"`
	// Epoch is the one time of all images, seconds since 1970: midnight UTC of
	// the day the lock was made.
	Epoch int64 `json:"epoch"`
	// Components with the Go release that compiles them, sorted by name.
	Components []components.Component `json:"components"`
	// Images that are pulled and not composed, sorted by name.
	Images []images.Image `json:"images,omitempty"`
	// Trees by name: see treeName.
	Trees map[string]Tree `json:"trees"`
}

// Tree is one pinned set of packages.
type Tree struct {
	Source packages.Source `json:"source"`
	// Want is what was asked for, sorted; Packages is what that came to.
	Want     []string           `json:"want"`
	Packages []packages.Package `json:"packages"`
}

// Names of trees: tools, compiler, and per base BASE/base, BASE/boot and BASE/ROLE.
func treeName(base, tree string) string { return base + "/" + tree }

const (
	treeTools    = "tools"
	treeCompiler = "compiler"
)

// ReadLock reads imgbuild.lock.
func ReadLock(file string) (Lock, error) {
	var l Lock
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return l, fmt.Errorf("%s: %w: run imgbuild lock", file, fs.ErrNotExist)
	}
	if err != nil {
		return l, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return l, fmt.Errorf("%s: %w: run imgbuild lock", file, err)
	}
	if l.Version != LockVersion {
		return l, fmt.Errorf("%s: version %d, this imgbuild reads %d: run imgbuild lock", file, l.Version, LockVersion)
	}
	return l, nil
}

// Write writes the lock to the file, whole or not at all.
func (l Lock) Write(file string) error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	tmp := file + ".part"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.Rename(tmp, file); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

// tree returns a pinned tree, if it is what is wanted now.
func (l Lock) tree(name string, source packages.Source, want []string) ([]packages.Package, error) {
	t, ok := l.Trees[name]
	if !ok {
		return nil, fmt.Errorf("imgbuild.lock has no packages of %s: run imgbuild lock", name)
	}
	if !slices.Equal(t.Want, sorted(want)) {
		return nil, fmt.Errorf("imgbuild.lock has other packages of %s than are wanted now: run imgbuild lock", name)
	}
	if t.Source.Mirror != source.Mirror || t.Source.Suite != source.Suite || t.Source.Family != source.Family {
		return nil, fmt.Errorf("imgbuild.lock has packages of %s from another mirror or release: run imgbuild lock", name)
	}
	if !slices.Equal(t.Source.Components, source.Components) {
		return nil, fmt.Errorf("imgbuild.lock has packages of %s from the archive's components %s, now %s are wanted: run imgbuild lock",
			name, strings.Join(t.Source.Components, " "), strings.Join(source.Components, " "))
	}
	return t.Packages, nil
}

// Component returns a pinned component by name.
func (l Lock) Component(name string) (components.Component, error) {
	for _, c := range l.Components {
		if c.Name == name {
			return c, nil
		}
	}
	return components.Component{}, fmt.Errorf("imgbuild.lock has no component %s: run imgbuild lock", name)
}

// image returns a pinned image that is pulled.
func (l Lock) image(ref string) (images.Image, error) {
	for _, img := range l.Images {
		if img.Ref == ref {
			return img, nil
		}
	}
	return images.Image{}, fmt.Errorf("imgbuild.lock has no image %s: run imgbuild lock", ref)
}
