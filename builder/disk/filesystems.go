package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
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
		"mkfs.erofs", "--quiet", "-zlz4hc,level=2", fmt.Sprintf("--workers=%d", workers()),
		fmt.Sprintf("-T%d", t.Epoch), "--all-time", "-U"+uuid,
		"--exclude-regex=^(boot|dev|mnt|proc|run|sys|tmp|var)/.*", inside(out), "/mnt/root")
	if err != nil && errors.Is(context.Cause(watched), unix.ENOSPC) {
		err = fmt.Errorf("mkfs.erofs: %w", unix.ENOSPC)
	}
	if err != nil {
		return fmt.Errorf("make root %s: %w", filepath.Base(out), err)
	}
	return nil
}

// workers is how many threads compress. What they write does not depend on
// their number, but each takes 40 MiB of memory.
func workers() int { return min(runtime.NumCPU(), 8) }

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

func setTimes(dir string, epoch int64) error {
	return filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return rootfs.SetTime(p, epoch)
	})
}

// ESP writes the file out: a FAT32 of sizeMiB with what is below the host
// directory stage, whose times it sets. volume is the volume id: 8 hex digits.
func (t Tools) ESP(ctx context.Context, stage, out, volume string, sizeMiB int64) error {
	if err := setTimes(stage, t.Epoch); err != nil {
		return fmt.Errorf("make ESP: %w", err)
	}
	if err := makeEmpty(out, sizeMiB<<20); err != nil {
		return fmt.Errorf("make ESP: %w", err)
	}
	dir := filepath.Dir(out)
	if _, err := t.run(ctx, dir, nil, "mkfs.vfat", "--invariant", "-F32", "-i", volume, "-n", "ESP", inside(out)); err != nil {
		return fmt.Errorf("make ESP: %w", err)
	}
	// ReadDir sorts, and so the order on the ESP is always the same.
	entries, err := os.ReadDir(stage)
	if err != nil {
		return fmt.Errorf("make ESP: %w", err)
	}
	argv := []string{"mcopy", "-s", "-p", "-m", "-i", inside(out)}
	for _, e := range entries {
		argv = append(argv, "/mnt/esp/"+e.Name())
	}
	mounts := []sandbox.Mount{{From: []string{stage}, To: "/mnt/esp", ReadOnly: true}}
	if _, err := t.run(ctx, dir, mounts, append(argv, "::/")...); err != nil {
		return fmt.Errorf("make ESP: %w", err)
	}
	return nil
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
