package rootfs

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"imgbuild/builder/cache"
	"imgbuild/builder/packages"
	"imgbuild/builder/sandbox"
	"imgbuild/builder/space"
)

// format changes whenever the same packages would give another layer.
const format = 7

// Layer is one directory of a tree and the key of everything it was made from.
type Layer struct {
	Dir string
	Key string
}

// Dirs are the directories of layers, in their order.
func Dirs(layers []Layer) []string {
	d := make([]string, len(layers))
	for i, l := range layers {
		d[i] = l.Dir
	}
	return d
}

// Keys are the keys of layers, in their order.
func Keys(layers []Layer) []string {
	k := make([]string, len(layers))
	for i, l := range layers {
		k[i] = l.Key
	}
	return k
}

// Maker makes layers in the cache. The package files must be in it already.
type Maker struct {
	Cache cache.Cache
	// Epoch is the one time of everything made, seconds since 1970.
	Epoch int64
	Log   *slog.Logger
	// Output gets what the programs print.
	Output io.Writer
}

// Base makes a tree of exactly these packages: nothing is resolved here.
func (m Maker) Base(ctx context.Context, pkgs []packages.Package) (Layer, error) {
	key := cache.Key(format, "base", m.Epoch, digests(pkgs))
	dir, _, err := m.Cache.Dir(ctx, "layers", key, func(ctx context.Context, dir string) error {
		m.Log.Info("make base layer", "packages", len(pkgs))
		if err := m.checkSpace(pkgs); err != nil {
			return err
		}
		if err := m.bootstrap(ctx, dir, pkgs); err != nil {
			return err
		}
		return clean(dir, m.Epoch)
	})
	if err != nil {
		return Layer{}, fmt.Errorf("make base layer: %w", err)
	}
	return Layer{dir, key}, nil
}

// Add makes the layer that installing pkgs on top of lower gives: an overlay
// upper directory, with overlayfs's own marks for what it removes.
func (m Maker) Add(ctx context.Context, lower []Layer, pkgs []packages.Package) (Layer, error) {
	key := cache.Key(format, "add", m.Epoch, Keys(lower), digests(pkgs))
	dir, _, err := m.Cache.Dir(ctx, "layers", key, func(ctx context.Context, dir string) error {
		m.Log.Info("make package layer", "packages", len(pkgs))
		if err := m.checkSpace(pkgs); err != nil {
			return err
		}
		debs, done, err := m.collect(pkgs)
		if err != nil {
			return err
		}
		defer done()
		return m.overlay(ctx, lower, dir, func(spec sandbox.Spec) error {
			if err := m.dpkg(ctx, spec, dir, debs, pkgs, "--install", "--force-depends"); err != nil {
				return err
			}
			return clean(dir, m.Epoch)
		})
	})
	if err != nil {
		return Layer{}, fmt.Errorf("make package layer: %w", err)
	}
	return Layer{dir, key}, nil
}

// checkSpace asks for as much as the archives have: what is in them has more,
// but nobody knows it before it is unpacked.
func (m Maker) checkSpace(pkgs []packages.Package) error {
	var size int64
	for _, p := range pkgs {
		size += p.Size
	}
	if err := space.Check(m.Cache.Root, size); err != nil {
		return fmt.Errorf("unpack %d packages: %w", len(pkgs), err)
	}
	return nil
}

// overlay runs f with a sandbox that writes to dir on top of lower.
func (m Maker) overlay(ctx context.Context, lower []Layer, dir string, f func(sandbox.Spec) error) error {
	scratch, done, err := m.Cache.Scratch("overlay")
	if err != nil {
		return err
	}
	defer done()
	spec := m.sandbox(Dirs(lower))
	spec.Upper, spec.Work = dir, scratch
	return f(spec)
}

// sandbox is what every sandbox of m has in common.
func (m Maker) sandbox(layers []string) sandbox.Spec {
	return sandbox.Spec{
		Layers: layers,
		Env: []string{
			fmt.Sprintf("SOURCE_DATE_EPOCH=%d", m.Epoch),
			"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true",
			// The kernel's hooks make no initramfs: package boot does.
			"INITRD=No",
		},
		Stdout: m.Output, Stderr: m.Output,
	}
}

func digests(pkgs []packages.Package) []string {
	d := make([]string, len(pkgs))
	for i, p := range pkgs {
		d[i] = p.SHA256
	}
	return d
}
