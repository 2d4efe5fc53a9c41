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

// State is what a state partition holds.
type State struct {
	// Layers whose /var it has, merged, lowest first.
	Layers []string
	// Extra maps a path below /var to a host directory that is laid there.
	Extra map[string]string
	// UUID of the file system.
	UUID string
	// MinMiB is its least size: it gets a quarter and 64 MiB more than its content
	// where that is larger.
	MinMiB int64
}

// MakeState makes an ext4 in a file, from the byte offset on: /var and the
// empty directories of the overlays. size is State.Size's. frame is an empty
// directory that may be removed afterwards.
//
// mke2fs reads the layers where they are and writes where the result is wanted:
// nothing is copied. It keeps owners, modes, hard links, ACLs and other
// extended attributes.
func (t Tools) MakeState(ctx context.Context, s State, file string, offset, size int64, frame string) error {
	mounts, err := t.stateTree(frame, s.Layers, s.Extra)
	if err != nil {
		return fmt.Errorf("make state: %w", err)
	}
	// hash_seed and the UUID would be random otherwise; the inode tables are
	// written at once, not by the kernel after the first mount. -F: the file may
	// hold other partitions.
	_, err = t.run(ctx, filepath.Dir(file), mounts, "mke2fs", "-F", "-q", "-t", "ext4", "-L", StateLabel, "-U", s.UUID,
		"-E", fmt.Sprintf("offset=%d,hash_seed=%s,root_owner=0:0,lazy_itable_init=0", offset, s.UUID), "-m", "0",
		"-d", "/mnt/state", inside(file), fmt.Sprintf("%dk", size>>10))
	if err != nil {
		return fmt.Errorf("make state in %s: %w", filepath.Base(file), err)
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

// Size is how many bytes the partition gets, and how many of them are content.
func (s State) Size() (size, content int64, err error) {
	dirs := []string{}
	for _, l := range s.Layers {
		dirs = append(dirs, filepath.Join(l, "var"))
	}
	for _, from := range s.Extra {
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
				content += (info.Size() + 4095) &^ 4095
			}
			return err
		})
		if err != nil {
			return 0, 0, fmt.Errorf("measure state: %w", err)
		}
	}
	return max(s.MinMiB, content/4*5>>20+64) << 20, content, nil
}

// CheckState verifies the structure of a state partition in a file.
func (t Tools) CheckState(ctx context.Context, file string, offset int64) error {
	if _, err := t.run(ctx, filepath.Dir(file), nil, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", inside(file), offset)); err != nil {
		return fmt.Errorf("state in %s is damaged: %w", filepath.Base(file), err)
	}
	return nil
}
