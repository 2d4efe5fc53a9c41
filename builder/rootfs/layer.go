package rootfs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"imgbuild/builder/cache"
	"imgbuild/builder/packages"
	"imgbuild/builder/sandbox"
)

// format changes whenever the same packages would give another layer.
const format = 4

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
		return m.overlay(ctx, lower, dir, func(spec sandbox.Spec) error {
			mounts, argv := m.install(pkgs, "--install", "--force-depends")
			spec.Mounts, spec.Argv = mounts, argv
			if err := sandbox.Run(ctx, spec); err != nil {
				return err
			}
			return clean(spec.Upper, m.Epoch)
		})
	})
	if err != nil {
		return Layer{}, fmt.Errorf("make package layer: %w", err)
	}
	return Layer{dir, key}, nil
}

// overlay runs f with a sandbox that writes to dir on top of lower.
func (m Maker) overlay(ctx context.Context, lower []Layer, dir string, f func(sandbox.Spec) error) error {
	scratch, done, err := m.Cache.Scratch("overlay")
	if err != nil {
		return err
	}
	defer done()
	return f(sandbox.Spec{
		Layers: Dirs(lower), Upper: dir, Work: scratch,
		Env: m.env(), Stdout: m.Output, Stderr: m.Output,
	})
}

func (m Maker) env() []string {
	return []string{
		fmt.Sprintf("SOURCE_DATE_EPOCH=%d", m.Epoch),
		"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true",
		// The kernel's hooks make no initramfs: package boot does.
		"INITRD=No",
	}
}

func digests(pkgs []packages.Package) []string {
	d := make([]string, len(pkgs))
	for i, p := range pkgs {
		d[i] = p.SHA256
	}
	return d
}

// install binds the package files into a sandbox and gives dpkg's command line.
func (m Maker) install(pkgs []packages.Package, action ...string) ([]sandbox.Mount, []string) {
	argv := []string{
		"dpkg", "--force-unsafe-io", "--force-confold",
		"--path-exclude=/usr/share/doc/*", "--path-include=/usr/share/doc/*/copyright",
		"--path-exclude=/usr/share/man/*", "--path-exclude=/usr/share/info/*",
		"--path-exclude=/usr/share/locale/*", "--path-exclude=/usr/share/lintian/*",
	}
	argv = append(argv, action...)
	var mounts []sandbox.Mount
	for _, p := range pkgs {
		to := filepath.Join("/mnt/debs", filepath.Base(packages.File(m.Cache, p)))
		mounts = append(mounts, sandbox.Mount{From: []string{packages.File(m.Cache, p)}, To: to})
		argv = append(argv, to)
	}
	return mounts, argv
}

// writeFile writes a file of a layer with its directories.
func writeFile(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}
