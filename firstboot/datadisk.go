package firstboot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	// dataLabel is the label of a file system that we have made, newLabel of one
	// that is not finished: it holds nothing that state has not.
	dataLabel = "imgbuild-data"
	newLabel  = "imgbuild-new"
	// dataStage is where it is mounted meanwhile.
	dataStage = "/run/imgbuild/data"
)

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
	if err := os.MkdirAll(m.host.path(target), 0o755); err != nil {
		return fmt.Errorf("%s: %w", target, reason(err))
	}
	switch what {
	case "", "ext4 (" + newLabel + ")":
		m.console.say("data disk %s is empty: making a file system", path)
		if err := m.makeData(ctx, path, target); err != nil {
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
	return m.host.call(ctx, "mount", "-t", "ext4", "-o", dataOptions, path, target)
}

// dataOptions: nothing of it is run.
const dataOptions = "noatime,nodev,nosuid,noexec"

// makeData makes the file system and copies to it what the image brought along
// for the target. Its label comes last: after a power cut it is made anew.
func (m *machine) makeData(ctx context.Context, path, target string) error {
	if err := os.MkdirAll(m.host.path(dataStage), 0o700); err != nil {
		return fmt.Errorf("%s: %w", dataStage, reason(err))
	}
	mounted, err := m.isMounted(dataStage)
	if err != nil {
		return err
	}
	steps := [][]string{
		{"mkfs.ext4", "-q", "-F", "-L", newLabel, "-m", "0", path},
		{"mount", "-t", "ext4", "-o", dataOptions, path, dataStage},
		{"cp", "-a", target + "/.", dataStage},
		{"umount", dataStage},
		{"e2label", path, dataLabel},
	}
	if mounted { // an attempt before this one failed
		steps = append([][]string{{"umount", dataStage}}, steps...)
	}
	for _, argv := range steps {
		if err := m.host.call(ctx, argv[0], argv[1:]...); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) isMounted(point string) (bool, error) {
	data, err := m.host.read("/proc/self/mountinfo")
	if err != nil {
		return false, fmt.Errorf("the mounts: %w", err)
	}
	_, ok := mountedDevice(string(data), point)
	return ok, nil
}
