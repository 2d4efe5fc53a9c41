package builder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"imgbuild/builder/boot"
	"imgbuild/builder/cache"
	"imgbuild/builder/disk"
	"imgbuild/builder/rootfs"
	"imgbuild/builder/scan"
	"imgbuild/builder/space"
)

// The steps that make the partitions and the image of them.

// makePartitions makes them side by side: what is slow in one is not what is
// slow in the other.
func (r *run) makePartitions(ctx context.Context) error {
	// As much as they may have: they are compressed, nobody knows how well.
	if err := space.Check(r.Cache.Root, (r.plan.Disk.Root+r.plan.Disk.Verity+r.plan.Disk.ESP)<<20); err != nil {
		return fmt.Errorf("make root and ESP: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := r.makeRoot(ctx); err != nil {
			return err
		}
		return r.makeESP(ctx)
	})
	g.Go(func() error {
		if err := r.scan(ctx); err != nil {
			return err
		}
		return r.makeState(ctx)
	})
	return g.Wait()
}

// makeRoot makes the root file system and its hash tree.
func (r *run) makeRoot(ctx context.Context) error {
	t := r.diskTools()
	r.root.data, r.root.tree = filepath.Join(r.dir, "root.erofs"), filepath.Join(r.dir, "root.verity")
	if err := t.Root(ctx, rootfs.Dirs(r.layers), r.root.data, r.uuid("root")); err != nil {
		return err
	}
	hash, err := t.Verity(ctx, r.root.data, r.root.tree, r.uuid("verity"), cache.Key(r.hash, "salt"))
	r.root.hash = hash
	return err
}

// slotUKI is the kernel image of the first slot on the ESP.
const slotUKI = "EFI/Linux/imgbuild-a.efi"

func (r *run) makeESP(ctx context.Context) error {
	k, err := boot.FindKernel(rootfs.Dirs(r.layers))
	if err != nil {
		return err
	}
	r.root.uki = filepath.Join(r.dir, "slot.efi")
	uki := boot.UKI{
		Kernel: k, Initramfs: r.initramfs, OSRelease: filepath.Join(r.layers[0].Dir, "usr/lib/os-release"),
		Cmdline: append(append([]string{}, r.plan.Cmdline...), "roothash="+r.root.hash),
	}
	tools := rootfs.Dirs(r.tools)
	if err := uki.Make(ctx, tools, r.root.uki, r.plan.Epoch, r.Output); err != nil {
		return err
	}
	conf := filepath.Join(r.dir, "loader.conf")
	if err := os.WriteFile(conf, []byte(boot.LoaderConf), 0o644); err != nil {
		return err
	}
	return r.diskTools().ESP(ctx, map[string]string{
		"EFI/BOOT/BOOTX64.EFI": boot.Loader(tools),
		slotUKI:                r.root.uki,
		"loader/loader.conf":   conf,
	}, r.esp(), r.uuid("esp")[:8], r.plan.Disk.ESP)
}

// stateVersion changes whenever the same layers would give another state.
const stateVersion = 2

// makeState makes the state partition. It is kept in the cache: most changes of
// a role do not touch /var.
func (r *run) makeState(ctx context.Context) error {
	var below []rootfs.Layer
	for _, l := range r.layers {
		if _, err := os.Stat(filepath.Join(l.Dir, "var")); err == nil {
			below = append(below, l)
		}
	}
	extra := map[string]string{}
	if r.baked.Dir != "" {
		extra["lib/containerd"] = r.baked.Dir
	}
	// Not the plan's hash: the same content may serve many plans.
	key := cache.Key(stateVersion, rootfs.Keys(below), r.baked.Key, r.plan.Disk.State, r.plan.Epoch, rootfs.Keys(r.tools))
	id := r.uuidOf(key)
	dir, _, err := r.Cache.Dir(ctx, "state", key, func(ctx context.Context, dir string) error {
		t, file := r.diskTools(), filepath.Join(dir, stateFile)
		if err := t.State(ctx, rootfs.Dirs(below), extra, file, id, r.plan.Disk.State); err != nil {
			return err
		}
		return t.CheckState(ctx, file)
	})
	r.state = filepath.Join(dir, stateFile)
	return err
}

const stateFile = "state.ext4"

// partitions are all that the image has, in their order.
func (r *run) partitions() []disk.Partition {
	root, verity := disk.Halves(r.root.hash)
	return []disk.Partition{
		{Name: "esp", Type: disk.TypeESP, UUID: r.uuid("esp"), MiB: r.plan.Disk.ESP, File: r.esp()},
		{Name: "root-a", Type: disk.TypeRoot, UUID: root, MiB: r.plan.Disk.Root, File: r.root.data},
		{Name: "verity-a", Type: disk.TypeVerity, UUID: verity, MiB: r.plan.Disk.Verity, File: r.root.tree},
		// The other slot is for upgrades. Names as systemd-sysupdate expects them.
		{Name: "_empty", Type: disk.TypeRoot, UUID: r.uuid("root-b"), MiB: r.plan.Disk.Root},
		{Name: "_empty", Type: disk.TypeVerity, UUID: r.uuid("verity-b"), MiB: r.plan.Disk.Verity},
		{Name: disk.StateLabel, Type: disk.TypeState, UUID: r.uuid("state"), File: r.state},
	}
}

func (r *run) esp() string { return filepath.Join(r.dir, "esp.fat") }

// scan looks for secrets and identities in everything that the image holds.
func (r *run) scan(ctx context.Context) error {
	s := scan.Scanner{Cache: r.Cache}
	// What dracut reads goes into the UKI.
	for _, l := range append(slices.Clone(r.layers), r.boot...) {
		if err := s.Layer(ctx, l.Dir, l.Key); err != nil {
			return err
		}
	}
	if r.baked.Dir == "" {
		return nil
	}
	return s.Layer(ctx, r.baked.Dir, r.baked.Key)
}

// assemble writes the raw image, in the output folder where it is wanted there.
func (r *run) assemble(ctx context.Context) error {
	parts := r.partitions()
	var size int64
	for _, p := range parts {
		size += space.Used(p.File)
	}
	if err := space.Check(r.out, size); err != nil {
		return fmt.Errorf("write image %s: %w", imageName(r.plan.Role, FormatRaw), err)
	}
	var err error
	r.table, err = disk.Assemble(ctx, r.raw(), r.uuid("disk"), parts)
	return err
}

// raw is where the raw image is written. It gets its own name last.
func (r *run) raw() string { return filepath.Join(r.out, "."+r.plan.Role+".raw.part") }

// verify reads the image back. The state partition's structure has been checked
// when it was made; here its content must still be the same.
func (r *run) verify(ctx context.Context) error {
	t := r.diskTools()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := disk.Verify(ctx, r.raw(), r.uuid("disk"), r.table); err != nil {
			return fmt.Errorf("the image is not what was to be written: %w", err)
		}
		if err := t.CheckESP(ctx, r.esp()); err != nil {
			return err
		}
		return t.CheckRoot(ctx, r.root.data, r.root.tree, r.root.hash)
	})
	g.Go(func() (err error) {
		r.rawSum, err = sumFile(ctx, r.raw())
		return err
	})
	return g.Wait()
}

// uuidOf is a UUID that depends on a key alone.
func (r *run) uuidOf(key string) string {
	return (&run{hash: key}).uuid("state")
}

func imageName(role, format string) string { return strings.Join([]string{role, format}, ".") }
