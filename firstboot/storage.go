package firstboot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"imgbuild/cluster/node"
)

// What a raw disk is found to be.
const (
	// DiskEmpty is one that Ceph may take.
	DiskEmpty = "empty"
	// DiskCeph is one that Ceph has taken.
	DiskCeph = "ceph"
	// DiskUsed is one that holds something else. Nobody touches it.
	DiskUsed = "used"
	// DiskUnknown is one that holds data without a signature, which Ceph would take
	// for empty.
	DiskUnknown = "unknown"
	// DiskMissing is one that this machine does not have, or cannot read.
	DiskMissing = "missing"
)

// DiskStatus is a raw disk of a node of role rook, as it was found at this boot.
type DiskStatus struct {
	Path string `json:"path"`
	// State is empty, ceph, used, unknown or missing.
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"`
}

// storagePhases make sure that Ceph's daemons find what they need of the
// machine. Nothing is written to a disk, here or elsewhere in the agent: a disk
// that is not what it should be is said, and the node goes on without it, as it
// must when one of twelve has died. Rook leaves alone what has a signature; for
// what has none the node waits before it joins, since Rook would take it.
func (m *machine) storagePhases() []Phase {
	if len(m.node.Disks) == 0 {
		return nil
	}
	return []Phase{
		gate(m.host, "modules", gateLimit, m.checkModules),
		{Name: "disks", Done: never, Run: m.lookAtDisks},
	}
}

// checkModules wants the kernel to know Ceph's block device and its file system.
func (m *machine) checkModules(context.Context) error {
	if !m.host.exists("/sys/module/rbd") {
		return errors.New("waiting for the kernel module rbd: see systemctl status systemd-modules-load")
	}
	known, err := m.host.read("/proc/filesystems")
	if err != nil {
		return fmt.Errorf("file systems: %w", err)
	}
	for line := range strings.Lines(string(known)) {
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == "ceph" {
			return nil
		}
	}
	return errors.New("waiting for the kernel module ceph: see systemctl status systemd-modules-load")
}

// lookAtDisks waits a little for disks that are slow to appear.
func (m *machine) lookAtDisks(ctx context.Context) error {
	_ = m.host.wait(ctx, gateLimit, func(context.Context) error {
		for _, d := range m.node.Disks {
			if !m.host.exists(d.Path) {
				return errors.New(d.Path + " is missing")
			}
		}
		return nil
	})
	var found []DiskStatus
	for _, d := range m.node.Disks {
		s := m.lookAtDisk(ctx, d)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m.console.say("disk %s %s (%s)", s.Path, s.State, s.Detail)
		found = append(found, s)
	}
	m.report.update(func(s *Status) { s.Disks = found })
	for _, s := range found {
		if s.State == DiskUnknown {
			return fmt.Errorf("waiting for somebody to look at %s: it %s", s.Path, s.Detail)
		}
	}
	return nil
}

func (m *machine) lookAtDisk(ctx context.Context, d node.Disk) DiskStatus {
	s := DiskStatus{Path: d.Path, State: DiskMissing}
	device, err := filepath.EvalSymlinks(m.host.path(d.Path))
	if err != nil {
		s.Detail = "this machine has no such disk"
		return s
	}
	if s.Bytes, err = m.diskSize(filepath.Base(device)); err != nil {
		s.Detail = err.Error()
		return s
	}
	what, err := m.diskContent(ctx, d.Path, device)
	size := sizeOf(s.Bytes)
	switch {
	case err != nil:
		s.Detail = err.Error()
	case what == "":
		s.State, s.Detail = DiskEmpty, size
	case what == unknownData:
		s.State, s.Detail = DiskUnknown, "holds data that no program here knows, and Ceph would take the disk for an empty one: clear its first MiB, or take it out of cluster.yaml"
	case strings.HasPrefix(what, "ceph"):
		s.State, s.Detail = DiskCeph, size+", "+what
	default:
		s.State, s.Detail = DiskUsed, size+", holds "+what+": it is left alone, Ceph does not get it"
	}
	if err == nil && s.Bytes < d.Size {
		s.Detail += "; cluster.yaml says that it has " + sizeOf(d.Size)
	}
	return s
}

// sizeOf is a size as disks are sold.
func sizeOf(bytes int64) string {
	if bytes < 1e9 {
		return fmt.Sprintf("%d MB", bytes/1e6)
	}
	return fmt.Sprintf("%d GB", bytes/1e9)
}

// diskSize is in bytes; sysfs counts sectors of 512, whatever the disk's own are:
// https://www.kernel.org/doc/Documentation/ABI/stable/sysfs-block
func (m *machine) diskSize(name string) (int64, error) {
	text, err := m.host.read("/sys/class/block/" + name + "/size")
	if err != nil {
		return 0, fmt.Errorf("%s is no disk: %w", name, reason(err))
	}
	sectors, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: size: expected a number", name)
	}
	return sectors * 512, nil
}

// diskContent names what is on a disk: "" is nothing, what starts with "ceph" is
// Ceph's. It only reads: wipefs(8) with --no-act.
func (m *machine) diskContent(ctx context.Context, path, device string) (string, error) {
	out, err := m.host.run(ctx, "wipefs", "--no-act", "--json", path)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	var found struct {
		Signatures []struct{ Type, Label string }
	}
	if strings.TrimSpace(out) != "" {
		if err := json.Unmarshal([]byte(out), &found); err != nil {
			return "", fmt.Errorf("wipefs: its answer: %w", err)
		}
	}
	var types []string
	for _, s := range found.Signatures {
		if s.Type == "ceph_bluestore" {
			return "ceph_bluestore", nil
		}
		if s.Type == "LVM2_member" {
			return m.volumeGroup(ctx, path)
		}
		if s.Label != "" {
			s.Type += " (" + s.Label + ")"
		}
		types = append(types, s.Type)
	}
	if len(types) > 0 {
		return strings.Join(types, ", "), nil
	}
	return unsigned(device)
}

// volumeGroup names the LVM volume group of a disk: Ceph's are called ceph-….
func (m *machine) volumeGroup(ctx context.Context, path string) (string, error) {
	out, err := m.host.run(ctx, "lvm", "pvs", "--noheadings", "--options", "vg_name", path)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	name := strings.TrimSpace(out)
	if strings.HasPrefix(name, "ceph-") {
		return name, nil
	}
	return "LVM2_member (" + orNone(name) + ")", nil
}

// unknownData is what unsigned finds.
const unknownData = "data of an unknown kind"

// firstBytes are enough to tell a disk that was never written to.
const firstBytes = 1 << 20

// unsigned finds data that no program knows the name of.
func unsigned(device string) (string, error) {
	f, err := os.Open(device)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", reason(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, firstBytes))
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", reason(err))
	}
	for _, b := range data {
		if b != 0 {
			return unknownData, nil
		}
	}
	return "", nil
}
