// Package boot makes what the firmware starts: the initramfs and the unified
// kernel image (UKI) that holds it.
//
// It does not decide what the initramfs does: its dracut modules come with the
// plan, its packages from the boot layer. Secure Boot signing is not done here.
package boot

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"imgbuild/builder/cache"
	"imgbuild/builder/sandbox"
)

// Initramfs says what goes into an initramfs. The same values give the same bytes.
type Initramfs struct {
	// Modules are the dracut modules to add by name; Omit those to leave out.
	Modules []string `json:"modules" yaml:"modules"`
	Omit    []string `json:"omit" yaml:"omit"`
	// Drivers are kernel modules to add besides what dracut picks.
	Drivers []string `json:"drivers,omitempty" yaml:"drivers"`
}

// Kernel is the kernel of a tree.
type Kernel struct {
	// Release is what uname -r will say.
	Release string
	// Image is the kernel's host path.
	Image string
}

// FindKernel finds the one kernel of the layers, lowest first.
func FindKernel(layers []string) (Kernel, error) {
	var found []string
	for _, l := range layers {
		m, err := filepath.Glob(filepath.Join(l, "boot", "vmlinuz-*"))
		if err != nil {
			return Kernel{}, err
		}
		found = append(found, m...)
	}
	if len(found) != 1 {
		return Kernel{}, fmt.Errorf("find kernel: %d files /boot/vmlinuz-*, want one: name exactly one kernel package in the base", len(found))
	}
	return Kernel{
		Release: strings.TrimPrefix(filepath.Base(found[0]), "vmlinuz-"),
		Image:   found[0],
	}, nil
}

// Make runs dracut in the boot tree, lowest layer first, and returns the path
// of the initramfs in the cache. key must change with the content of layers.
func (i Initramfs) Make(ctx context.Context, c cache.Cache, layers []string, key string, k Kernel, epoch int64, log io.Writer) (string, error) {
	dir, _, err := c.Dir(ctx, "initramfs", cache.Key(4, key, i, k.Release, epoch), func(ctx context.Context, dir string) error {
		return i.dracut(ctx, c, layers, k, epoch, dir, log)
	})
	if err != nil {
		return "", fmt.Errorf("make initramfs: %w", err)
	}
	return filepath.Join(dir, "initramfs.img"), nil
}

func (i Initramfs) dracut(ctx context.Context, c cache.Cache, layers []string, k Kernel, epoch int64, out string, log io.Writer) error {
	scratch, done, err := c.Scratch("initramfs")
	if err != nil {
		return err
	}
	defer done()
	upper, work := filepath.Join(scratch, "upper"), filepath.Join(scratch, "work")
	for _, d := range []string{upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	return sandbox.Run(ctx, sandbox.Spec{
		Layers: layers, Upper: upper, Work: work,
		Mounts: []sandbox.Mount{{From: []string{out}, To: "/mnt/out"}},
		Env:    []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", epoch)},
		Argv:   i.argv(k),
		Stdout: log, Stderr: log,
	})
}

// argv is dracut's command line. Nothing of the build machine may reach the
// result: --no-hostonly, and --reproducible sorts and clamps times.
func (i Initramfs) argv(k Kernel) []string {
	return []string{
		"dracut", "--force", "--quiet", "--no-hostonly", "--no-hostonly-cmdline", "--reproducible",
		// Microcode belongs to a UKI section of its own, not in front of the archive.
		"--no-early-microcode",
		// -T1: zstd's output depends on the number of threads.
		"--compress", "zstd -9 -q -T1",
		"--add", strings.Join(i.Modules, " "),
		"--omit", strings.Join(i.Omit, " "),
		"--add-drivers", strings.Join(i.Drivers, " "),
		"--tmpdir", "/tmp", "--kver", k.Release, "/mnt/out/initramfs.img",
	}
}
