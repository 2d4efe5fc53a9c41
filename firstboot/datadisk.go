package firstboot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// dataLabel is the label of a file system that we have made.
const dataLabel = "imgbuild-data"

// dataDiskPhase mounts the node's data disk where it keeps its data. Without one
// that is on state.
func (m *machine) dataDiskPhase(target string) []Phase {
	if m.node.DataDisk == nil {
		return nil
	}
	return []Phase{{
		Name: "data-disk",
		Done: func(context.Context) (bool, error) { return m.dataMounted(target) },
		Run:  func(ctx context.Context) error { return m.mountData(ctx, target) },
	}}
}

// dataMounted says whether the disk itself is mounted there, and not another.
func (m *machine) dataMounted(target string) (bool, error) {
	data, err := m.host.read("/proc/self/mountinfo")
	if err != nil {
		return false, fmt.Errorf("the mounts: %w", err)
	}
	mounted, ok := mountedDevice(string(data), target)
	if !ok {
		return false, nil
	}
	device, err := filepath.EvalSymlinks(m.host.path(m.node.DataDisk.Path))
	if err != nil {
		return false, errors.New("waiting for the data disk " + m.node.DataDisk.Path)
	}
	number, err := m.host.read("/sys/class/block/" + filepath.Base(device) + "/dev")
	if err != nil {
		return false, fmt.Errorf("data disk: %w", err)
	}
	if strings.TrimSpace(string(number)) != mounted {
		return false, Stop{fmt.Sprintf("%s is on another disk than %s: turn the machine off and on again", target, m.node.DataDisk.Path)}
	}
	return true, nil
}

// mountData makes a file system on an empty disk, and never on another one: what
// is there may be all images of a site.
func (m *machine) mountData(ctx context.Context, target string) error {
	path := m.node.DataDisk.Path
	device, err := filepath.EvalSymlinks(m.host.path(path))
	if err != nil {
		return errors.New("waiting for the data disk " + path)
	}
	what, err := m.diskContent(ctx, path, device)
	if err != nil {
		return fmt.Errorf("data disk %s: %w", path, err)
	}
	switch what {
	case "":
		m.console.say("data disk %s is empty: making a file system", path)
		if err := m.host.call(ctx, "mkfs.ext4", "-q", "-L", dataLabel, "-m", "0", path); err != nil {
			return err
		}
	case "ext4 (" + dataLabel + ")":
		// After a power cut; it does nothing where nothing is wrong, and 1 means that
		// it has repaired.
		if err := m.host.call(ctx, "sh", "-c", `e2fsck -p "$0" || test $? -eq 1`, path); err != nil {
			return fmt.Errorf("data disk %s: %w: look at it by hand, nothing repairs it alone", path, err)
		}
	default:
		return Stop{fmt.Sprintf("data disk %s holds %s and is left alone: give the node an empty disk, or clear this one", path, what)}
	}
	if err := os.MkdirAll(m.host.path(target), 0o755); err != nil {
		return fmt.Errorf("%s: %w", target, reason(err))
	}
	return m.host.call(ctx, "mount", "-t", "ext4", "-o", "noatime,nodev,nosuid,noexec", path, target)
}
