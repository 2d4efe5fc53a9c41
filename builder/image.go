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
	"imgbuild/builder/images"
	"imgbuild/builder/rootfs"
	"imgbuild/builder/scan"
	"imgbuild/builder/space"
)

// The steps that make the partitions and the image of them.

// The partitions of an image, as they are counted from 0.
const (
	partESP = iota
	partRoot
	partVerity
	partNextRoot
	partNextVerity
	partState
)

// partitions are all that the image has, in their order. Root and hash tree get
// the UUIDs that the root hash says.
func (r *run) partitions() []disk.Partition {
	d := r.plan.Disk
	return []disk.Partition{
		partESP:    {Name: "esp", Type: disk.TypeESP, UUID: r.uuid("esp"), MiB: d.ESP},
		partRoot:   {Name: "root-a", Type: disk.TypeRoot, MiB: d.Root},
		partVerity: {Name: "verity-a", Type: disk.TypeVerity, MiB: d.Verity},
		// The other slot is for upgrades. Names as systemd-sysupdate expects them.
		partNextRoot:   {Name: "_empty", Type: disk.TypeRoot, UUID: r.uuid("root-b"), MiB: d.Root},
		partNextVerity: {Name: "_empty", Type: disk.TypeVerity, UUID: r.uuid("verity-b"), MiB: d.Verity},
		partState:      {Name: disk.StateLabel, Type: disk.TypeState, UUID: r.uuid("state")},
	}
}

// makeImage makes the partitions side by side, and writes each into the image as
// soon as it is there: what is slow in one is not what is slow in the other.
func (r *run) makeImage(ctx context.Context) error {
	if r.Gathered != nil {
		r.Gathered()
	}
	// As much as they may have: they are compressed, nobody knows how well.
	if err := space.Check(r.Cache.Root, (r.plan.Disk.Root+r.plan.Disk.Verity+r.plan.Disk.ESP)<<20); err != nil {
		return fmt.Errorf("make root and ESP: %w", err)
	}
	var err error
	if r.image, err = disk.Create(r.raw(), r.partitions()); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	initramfs := make(chan struct{})
	g.Go(func() error {
		err := r.makeInitramfs(ctx)
		if err == nil {
			close(initramfs)
		}
		return err
	})
	g.Go(func() error {
		if err := r.makeRoot(ctx, g); err != nil {
			return err
		}
		select {
		case <-initramfs:
			return r.makeESP(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	g.Go(func() error {
		if err := r.scan(ctx); err != nil {
			return err
		}
		return r.makeState(ctx)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	r.table, err = r.image.Finish(r.uuid("disk"))
	return err
}

// makeRoot makes the root file system and its hash tree, and has g write the
// one while it makes the other.
func (r *run) makeRoot(ctx context.Context, g *errgroup.Group) error {
	t := r.diskTools()
	r.root.data, r.root.tree = filepath.Join(r.dir, "root.erofs"), filepath.Join(r.dir, "root.verity")
	if err := t.Root(ctx, rootfs.Dirs(r.layers), r.root.data, r.uuid("root")); err != nil {
		return err
	}
	g.Go(func() error { return r.write(ctx, partRoot, r.root.data) })
	var err error
	r.root.hash, err = t.Verity(ctx, r.root.data, r.root.tree, r.uuid("verity"), cache.Key(r.hash, "salt"))
	if err != nil {
		return err
	}
	parts := r.image.Partitions
	parts[partRoot].UUID, parts[partVerity].UUID = disk.Halves(r.root.hash)
	return r.write(ctx, partVerity, r.root.tree)
}

// write puts a file into its partition of the image, where there is room for
// it.
func (r *run) write(ctx context.Context, part int, file string) error {
	if err := r.checkRoom(space.Used(file)); err != nil {
		return err
	}
	return r.image.Write(ctx, part, file)
}

// checkRoom wants room for so many bytes more in the image.
func (r *run) checkRoom(bytes int64) error {
	if err := space.Check(r.out, bytes); err != nil {
		return fmt.Errorf("write image %s: %w", imageName(r.plan.Role, FormatRaw), err)
	}
	return nil
}

// slotUKI is the kernel image of the first slot on the ESP.
const slotUKI = "EFI/Linux/imgbuild-a.efi"

// makeESP makes what the firmware starts, which holds the root hash and the
// initramfs.
func (r *run) makeESP(ctx context.Context) error {
	k, err := boot.FindKernel(rootfs.Dirs(r.layers))
	if err != nil {
		return err
	}
	stage := filepath.Join(r.dir, "esp")
	for _, d := range []string{"EFI/BOOT", "EFI/Linux", "loader"} {
		if err := os.MkdirAll(filepath.Join(stage, d), 0o755); err != nil {
			return err
		}
	}
	r.root.uki = filepath.Join(stage, slotUKI)
	uki := boot.UKI{
		Kernel: k, Initramfs: r.initramfs, OSRelease: filepath.Join(r.layers[0].Dir, "usr/lib/os-release"),
		Cmdline: append(append([]string{}, r.plan.Cmdline...), "roothash="+r.root.hash),
	}
	tools := rootfs.Dirs(r.tools)
	if err := uki.Make(ctx, tools, r.root.uki, r.plan.Epoch, r.Output); err != nil {
		return err
	}
	loader, err := os.ReadFile(boot.Loader(tools))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(stage, "EFI/BOOT/BOOTX64.EFI"), loader, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(stage, "loader/loader.conf"), []byte(boot.LoaderConf), 0o644); err != nil {
		return err
	}
	if err := r.diskTools().ESP(ctx, stage, r.esp(), r.uuid("esp")[:8], r.plan.Disk.ESP); err != nil {
		return err
	}
	return r.write(ctx, partESP, r.esp())
}

// registryStorage is the StateDirectory of registry.service below /var, which
// systemd gives to the unit's user at its first start.
const registryStorage = "lib/private/registry"

// stateVersion changes whenever the same layers would give another state.
const stateVersion = 5

// makeState makes the state partition in the image. A compressed copy is kept
// in the cache: most changes of a role do not touch /var.
func (r *run) makeState(ctx context.Context) error {
	s := disk.State{Extra: map[string]string{}, MinMiB: r.plan.Disk.State}
	var keys []string
	for _, l := range r.layers {
		if _, err := os.Stat(filepath.Join(l.Dir, "var")); err == nil {
			s.Layers, keys = append(s.Layers, l.Dir), append(keys, l.Key)
		}
	}
	if r.baked.Dir != "" {
		s.Extra["lib/containerd"] = r.baked.Dir
	}
	// Not the plan's hash: the same content may serve many plans.
	key := cache.Key(stateVersion, keys, r.baked.Key, s.MinMiB, r.plan.Epoch, rootfs.Keys(r.tools))
	if r.seeded.Dir != "" {
		s.Extra[registryStorage] = r.seeded.Dir
		key = cache.Key(key, r.seeded.Key)
	}
	s.UUID = r.uuidOf(key)
	size, content, err := s.Size()
	if err != nil {
		return err
	}
	if err := r.checkRoom(content); err != nil {
		return err
	}
	dir, kept, err := r.Cache.Dir(ctx, "state", key, func(ctx context.Context, dir string) error {
		return r.newState(ctx, s, size, dir)
	})
	r.state = dir
	if err != nil || !kept {
		return err
	}
	sum, err := os.ReadFile(filepath.Join(dir, stateSum))
	if err == nil {
		err = r.image.Unpack(ctx, partState, size, filepath.Join(dir, stateFile), string(sum))
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("take state from the cache: %w: delete %s", err, dir)
	}
	return err
}

// The files of a state in the cache: its file system, compressed, and the hex
// SHA-256 of what it is unpacked.
const (
	stateFile = "state.ext4.zst"
	stateSum  = "state.sha256"
)

func (r *run) newState(ctx context.Context, s disk.State, size int64, dir string) error {
	t := r.diskTools()
	frame := filepath.Join(r.dir, "state")
	if err := os.Mkdir(frame, 0o755); err != nil {
		return err
	}
	sum, err := r.image.Make(ctx, partState, size, filepath.Join(dir, stateFile), func(image string, offset int64) error {
		if err := t.MakeState(ctx, s, image, offset, size, frame); err != nil {
			return space.Explain(err, r.out, image)
		}
		return t.CheckState(ctx, image, offset)
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, stateSum), []byte(sum), 0o644)
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
	for _, made := range []images.Baked{r.baked, r.seeded} {
		if made.Dir == "" {
			continue
		}
		if err := s.Layer(ctx, made.Dir, made.Key); err != nil {
			return err
		}
	}
	return nil
}

// raw is where the raw image is written, in the output folder where it may be
// wanted. It gets its own name last.
func (r *run) raw() string { return filepath.Join(r.out, "."+r.plan.Role+".raw.part") }

// verify reads the image back, while what is not yet on the disk gets there. The
// state partition's structure has been checked when it was made; here its
// content must still be the same.
func (r *run) verify(ctx context.Context) error {
	t := r.diskTools()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(r.image.Sync)
	g.Go(func() (err error) {
		if r.rawSum, err = disk.Verify(ctx, r.raw(), r.uuid("disk"), r.table); err != nil {
			return fmt.Errorf("the image is not what was to be written: %w: build it again, and where that gives the same, delete %s first",
				err, r.state)
		}
		return nil
	})
	g.Go(func() error {
		if err := t.CheckESP(ctx, r.esp()); err != nil {
			return err
		}
		return t.CheckRoot(ctx, r.root.data, r.root.tree, r.root.hash)
	})
	return g.Wait()
}

// uuidOf is a UUID that depends on a key alone.
func (r *run) uuidOf(key string) string {
	return (&run{hash: key}).uuid("state")
}

func imageName(role, format string) string { return strings.Join([]string{role, format}, ".") }
