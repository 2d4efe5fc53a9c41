package disk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"imgbuild/builder/sandbox"
)

// StateLabel is the name of the state partition: the initramfs finds it by it.
const StateLabel = "imgbuild-state"

// State writes the file out: an ext4 that holds /var of the merged layers,
// lowest first, and the empty directories of the overlays. It has minMiB, or a
// quarter and 64 MiB more than its content where that is larger. extra maps a
// path below /var to a host directory that is laid there.
//
// mke2fs reads the layers where they are: nothing is copied before. It keeps
// owners, modes, hard links, ACLs and other extended attributes.
func (t Tools) State(ctx context.Context, layers []string, extra map[string]string, out, uuid string, minMiB int64) error {
	size, err := stateSize(layers, extra, minMiB)
	if err != nil {
		return err
	}
	frame, err := os.MkdirTemp(filepath.Dir(out), "frame-")
	if err != nil {
		return fmt.Errorf("make state: %w", err)
	}
	defer os.RemoveAll(frame)
	mounts, err := t.stateTree(frame, layers, extra)
	if err != nil {
		return fmt.Errorf("make state: %w", err)
	}
	// hash_seed and the UUID would be random otherwise; the inode tables are
	// written at once, not by the kernel after the first mount.
	_, err = t.run(ctx, filepath.Dir(out), mounts, "mke2fs", "-q", "-t", "ext4", "-L", StateLabel, "-U", uuid,
		"-E", "hash_seed="+uuid+",root_owner=0:0,lazy_itable_init=0", "-m", "0",
		"-d", "/mnt/state", inside(out), fmt.Sprintf("%dM", size))
	if err != nil {
		return fmt.Errorf("make state %s: %w", filepath.Base(out), err)
	}
	return nil
}

// stateTree makes, in the host directory frame, the directories of the state
// that no layer has, and gives the mounts that complete it at /mnt/state.
func (t Tools) stateTree(frame string, layers []string, extra map[string]string) ([]sandbox.Mount, error) {
	state, root := filepath.Join(frame, "state"), filepath.Join(frame, "root")
	dirs := []string{filepath.Join(root, "var")}
	for _, d := range []string{"etc/upper", "etc/work", "opt/upper", "opt/work", "var"} {
		dirs = append(dirs, filepath.Join(state, d))
	}
	mounts := []sandbox.Mount{
		{From: []string{state}, To: "/mnt/state", ReadOnly: true},
		// The frame is lowest: where a layer has the directory too, it is the layer's.
		{From: append([]string{root}, layers...), To: "/mnt/root", ReadOnly: true},
		{From: []string{"/mnt/root/var"}, Inside: true, To: "/mnt/state/var", ReadOnly: true},
	}
	for _, to := range slices.Sorted(maps.Keys(extra)) {
		dirs = append(dirs, filepath.Join(root, "var", to))
		mounts = append(mounts, sandbox.Mount{From: []string{extra[to]}, To: "/mnt/state/var/" + to, ReadOnly: true})
	}
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	return mounts, setTimes(frame, t.Epoch)
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

// CheckState verifies the structure of a state partition's file.
func (t Tools) CheckState(ctx context.Context, file string) error {
	if _, err := t.run(ctx, filepath.Dir(file), nil, "e2fsck", "-fn", inside(file)); err != nil {
		return fmt.Errorf("%s is damaged: %w", filepath.Base(file), err)
	}
	return nil
}
