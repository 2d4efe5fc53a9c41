package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"imgbuild/builder/rootfs"
	"imgbuild/builder/sandbox"
	"imgbuild/builder/space"
)

// Root writes the file out: an erofs of the merged layers, lowest first.
// Directories whose content belongs to state or to the running system stay as
// empty mount points.
func (t Tools) Root(ctx context.Context, layers []string, out, uuid string) error {
	// mkfs.erofs 1.8 waits for ever for threads that could not write.
	watched, stop := space.Watch(ctx, filepath.Dir(out))
	defer stop()
	_, err := t.run(watched, filepath.Dir(out), []sandbox.Mount{{From: layers, To: "/mnt/root", ReadOnly: true}},
		"mkfs.erofs", "--quiet", "-zlz4hc,level=3", fmt.Sprintf("-T%d", t.Epoch), "--all-time", "-U"+uuid,
		"--exclude-regex=^(boot|dev|mnt|proc|run|sys|tmp|var)/.*", inside(out), "/mnt/root")
	if err != nil && errors.Is(context.Cause(watched), unix.ENOSPC) {
		err = fmt.Errorf("mkfs.erofs: %w", unix.ENOSPC)
	}
	if err != nil {
		return fmt.Errorf("make root %s: %w", filepath.Base(out), err)
	}
	return nil
}

var rootHash = regexp.MustCompile(`Root hash:\s+([0-9a-f]{64})`)

// Verity writes the dm-verity hash tree of data to the file hash, which must be
// in the same directory, and returns the root hash: 64 hex digits. salt is hex.
func (t Tools) Verity(ctx context.Context, data, hash, uuid, salt string) (string, error) {
	out, err := t.run(ctx, filepath.Dir(data), nil,
		"veritysetup", "format", "--salt="+salt, "--uuid="+uuid, inside(data), inside(hash))
	if err != nil {
		return "", fmt.Errorf("make hash tree of %s: %w", filepath.Base(data), err)
	}
	m := rootHash.FindStringSubmatch(out)
	if m == nil {
		return "", errors.New("make hash tree: veritysetup printed no root hash")
	}
	return m[1], nil
}

// CheckRoot verifies every block of data against the root hash, and the file
// system's structure.
func (t Tools) CheckRoot(ctx context.Context, data, hash, root string) error {
	dir := filepath.Dir(data)
	if _, err := t.run(ctx, dir, nil, "veritysetup", "verify", inside(data), inside(hash), root); err != nil {
		return fmt.Errorf("%s does not match its root hash: %w", filepath.Base(data), err)
	}
	if _, err := t.run(ctx, dir, nil, "fsck.erofs", inside(data)); err != nil {
		return fmt.Errorf("%s is damaged: %w", filepath.Base(data), err)
	}
	return nil
}

// StateLabel is the name of the state partition: the initramfs finds it by it.
const StateLabel = "imgbuild-state"

// State writes the file out: an ext4 that holds /var of the merged layers and
// the empty directories of the overlays. It has minMiB, or a quarter
// and 64 MiB more than its content where that is larger. extra maps a path below /var to a host
// directory that is laid there.
func (t Tools) State(ctx context.Context, layers []string, extra map[string]string, out, uuid string, minMiB int64) error {
	size, err := stateSize(layers, extra, minMiB)
	if err != nil {
		return err
	}
	stage := filepath.Join(filepath.Dir(out), "state.stage")
	defer os.RemoveAll(stage)
	for _, d := range []string{"etc/upper", "etc/work", "opt/upper", "opt/work"} {
		if err := os.MkdirAll(filepath.Join(stage, d), 0o755); err != nil {
			return fmt.Errorf("make state: %w", err)
		}
	}
	if err := t.copyVar(ctx, layers, extra, stage); err != nil {
		return fmt.Errorf("make state: %w", err)
	}
	if err := setTimes(stage, t.Epoch); err != nil {
		return fmt.Errorf("make state: %w", err)
	}
	// hash_seed and the UUID would be random otherwise; the inode tables are
	// written at once, not by the kernel after the first mount.
	_, err = t.run(ctx, filepath.Dir(out), nil, "mke2fs", "-q", "-t", "ext4", "-L", StateLabel, "-U", uuid,
		"-E", "hash_seed="+uuid+",root_owner=0:0,lazy_itable_init=0", "-m", "0",
		"-d", "/mnt/out/state.stage", inside(out), fmt.Sprintf("%dM", size))
	if err != nil {
		return fmt.Errorf("make state %s: %w", filepath.Base(out), err)
	}
	return nil
}

// copyVar copies with the tools tree's cp, which keeps owners, modes, extended
// attributes and hard links.
func (t Tools) copyVar(ctx context.Context, layers []string, extra map[string]string, stage string) error {
	dir := filepath.Dir(stage)
	root := []sandbox.Mount{{From: layers, To: "/mnt/root", ReadOnly: true}}
	if _, err := t.run(ctx, dir, root, "cp", "-a", "/mnt/root/var", "/mnt/out/state.stage/var"); err != nil {
		return err
	}
	for to, from := range extra {
		mounts := []sandbox.Mount{{From: []string{from}, To: "/mnt/extra", ReadOnly: true}}
		if err := os.MkdirAll(filepath.Join(stage, "var", to), 0o755); err != nil {
			return err
		}
		if _, err := t.run(ctx, dir, mounts, "cp", "-a", "/mnt/extra/.", "/mnt/out/state.stage/var/"+to); err != nil {
			return err
		}
	}
	return nil
}

func stateSize(layers []string, extra map[string]string, minMiB int64) (int64, error) {
	var bytes int64
	dirs := []string{}
	for _, l := range layers {
		dirs = append(dirs, filepath.Join(l, "var"))
	}
	for _, from := range extra {
		dirs = append(dirs, from)
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil {
				bytes += (info.Size() + 4095) &^ 4095
			}
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("measure state: %w", err)
		}
	}
	return max(minMiB, bytes/4*5>>20+64), nil
}

func setTimes(dir string, epoch int64) error {
	return filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return rootfs.SetTime(p, epoch)
	})
}

// ESP writes the file out: a FAT32 of sizeMiB with the given files, a map from
// the path on the ESP to the host's. volume is the volume id: 8 hex digits.
func (t Tools) ESP(ctx context.Context, files map[string]string, out, volume string, sizeMiB int64) error {
	dir := filepath.Dir(out)
	stage := filepath.Join(dir, "esp.stage")
	defer os.RemoveAll(stage)
	for to, from := range files {
		if err := copyTo(from, filepath.Join(stage, to)); err != nil {
			return fmt.Errorf("make ESP: %w", err)
		}
	}
	if err := setTimes(stage, t.Epoch); err != nil {
		return fmt.Errorf("make ESP: %w", err)
	}
	if err := makeEmpty(out, sizeMiB<<20); err != nil {
		return err
	}
	if _, err := t.run(ctx, dir, nil, "mkfs.vfat", "--invariant", "-F32", "-i", volume, "-n", "ESP", inside(out)); err != nil {
		return fmt.Errorf("make ESP: %w", err)
	}
	// ReadDir sorts, and so the order on the ESP is always the same.
	entries, err := os.ReadDir(stage)
	if err != nil {
		return err
	}
	argv := []string{"mcopy", "-s", "-p", "-m", "-i", inside(out)}
	for _, e := range entries {
		argv = append(argv, "/mnt/out/esp.stage/"+e.Name())
	}
	if _, err := t.run(ctx, dir, nil, append(argv, "::/")...); err != nil {
		return fmt.Errorf("make ESP: %w", err)
	}
	return nil
}

func copyTo(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

func makeEmpty(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// CheckState verifies the structure of a state partition's file.
func (t Tools) CheckState(ctx context.Context, file string) error {
	if _, err := t.run(ctx, filepath.Dir(file), nil, "e2fsck", "-fn", inside(file)); err != nil {
		return fmt.Errorf("%s is damaged: %w", filepath.Base(file), err)
	}
	return nil
}

// CheckESP verifies the structure of an ESP's file.
func (t Tools) CheckESP(ctx context.Context, file string) error {
	if _, err := t.run(ctx, filepath.Dir(file), nil, "fsck.vfat", "-n", inside(file)); err != nil {
		return fmt.Errorf("%s is damaged: %w", filepath.Base(file), err)
	}
	return nil
}

// Qcow2 converts a raw image. Both files must be in the same directory.
func (t Tools) Qcow2(ctx context.Context, raw, out string) error {
	_, err := t.run(ctx, filepath.Dir(raw), nil,
		"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd", inside(raw), inside(out))
	if err != nil {
		return fmt.Errorf("convert %s to qcow2: %w", filepath.Base(raw), err)
	}
	return nil
}

// Halves splits a root hash into the UUIDs of the root and the verity
// partition, as the Discoverable Partitions Specification has it.
func Halves(hash string) (root, verity string) {
	u := func(h string) string {
		return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:32]}, "-")
	}
	return u(hash[:32]), u(hash[32:64])
}
