package firstboot

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
)

const dataPath = "/dev/disk/by-id/data"

// newDataDisk is a registry whose data disk is a file. The real programs look at
// it and format it; mounting it is a line in the list of mounts.
func newDataDisk(t *testing.T) (f *fake, file string) {
	f, _ = newRegistry(t, wantsPassword)
	n := registryNode()
	n.DataDisk = &node.Disk{Path: dataPath, Size: diskBytes}
	f.identity(n, node.Image{Role: "harbor", Plan: strings.Repeat("cd", 32), Base: "debian-13", Components: map[string]string{"registry": "v3.1.2"}})
	f.file("/dev/vdb", "")
	file = filepath.Join(f.root, "dev/vdb")
	require.NoError(t, os.Truncate(file, diskBytes))
	require.NoError(t, os.MkdirAll(filepath.Join(f.root, "dev/disk/by-id"), 0o755))
	require.NoError(t, os.Symlink("../../vdb", filepath.Join(f.root, dataPath)))
	f.file("/sys/class/block/vdb/dev", "253:16\n")
	for _, name := range []string{"wipefs", "mkfs.ext4", "sh"} {
		f.programs[name] = func(c Command) error {
			args := append(c.Args[:len(c.Args)-1:len(c.Args)-1], filepath.Join(f.root, c.Args[len(c.Args)-1]))
			cmd := exec.CommandContext(t.Context(), c.Name, args...)
			cmd.Stdout, cmd.Stderr = c.Stdout, c.Stderr
			return cmd.Run()
		}
	}
	mounts, err := os.ReadFile(filepath.Join(f.root, "proc/self/mountinfo"))
	require.NoError(t, err)
	f.programs["cp"] = func(Command) error { return nil }
	f.programs["umount"] = func(Command) error { f.file("/proc/self/mountinfo", string(mounts)); return nil }
	f.programs["e2label"] = func(c Command) error {
		return exec.CommandContext(t.Context(), "e2label", file, c.Args[1]).Run()
	}
	f.programs["mount"] = func(c Command) error {
		f.file("/proc/self/mountinfo", string(mounts)+fmt.Sprintf("50 1 253:16 / %s rw - ext4 /dev/vdb rw\n", c.Args[len(c.Args)-1]))
		return nil
	}
	return f, file
}

// An empty disk is formatted once, and used as it is from then on.
func TestADataDisk(t *testing.T) {
	f, file := newDataDisk(t)
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Contains(t, f.console.String(), "imgbuild: data disk "+dataPath+" is empty: making a file system\n")
	assert.Contains(t, f.console.String(), "imgbuild: ready")
	uuid := func() string {
		out, err := exec.CommandContext(t.Context(), "blkid", "-p", "-s", "UUID", "-o", "value", file).Output()
		require.NoError(t, err)
		return string(out)
	}
	made := uuid()
	assert.Contains(t, strings.Join(f.ran, "\n"), "cp -a /var/lib/private/registry/. /run/imgbuild/data\numount /run/imgbuild/data\ne2label "+dataPath+" imgbuild-data\nmount",
		"what the image brought along is on it before it counts as made")

	// The next boot.
	f.console.Reset()
	f.file("/proc/self/mountinfo", "30 1 252:5 / "+statePath+" rw shared:1 - ext4 /dev/vda5 rw\n31 1 252:5 /var /var rw shared:1 - ext4 /dev/vda5 rw\n")
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.NotContains(t, f.console.String(), "making a file system")
	assert.Contains(t, strings.Join(f.ran, "\n"), "mount -t ext4 -o noatime,nodev,nosuid,noexec "+dataPath+" /var/lib/private/registry")
	assert.Equal(t, made, uuid(), "it is not formatted again")
}

// The power is cut while it is made.
func TestAnUnfinishedDataDisk(t *testing.T) {
	f, file := newDataDisk(t)
	require.NoError(t, exec.Command("mkfs.ext4", "-q", "-L", newLabel, file).Run())
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Contains(t, f.console.String(), "is empty: making a file system")
	assert.Contains(t, f.console.String(), "imgbuild: ready")
}

// What somebody else has on the disk stays there.
func TestADataDiskOfSomebodyElse(t *testing.T) {
	for name, prepare := range map[string]func(file string){
		"ext4 (payroll)":          func(file string) { require.NoError(t, exec.Command("mkfs.ext4", "-q", "-L", "payroll", file).Run()) },
		"data of an unknown kind": func(file string) { require.NoError(t, os.WriteFile(file, []byte("something"), 0o644)) },
	} {
		f, file := newDataDisk(t)
		prepare(file)
		before, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
		assert.Contains(t, f.console.String(), "imgbuild: stop: data disk "+dataPath+" holds "+name+" and is left alone: give the node an empty disk, or clear this one")
		after, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(before, after), "not a byte is changed")
	}
}

func TestADataDiskThatIsMissing(t *testing.T) {
	f, _ := newDataDisk(t)
	f.remove(dataPath)
	f.until("phase data-disk retry")
	require.ErrorIs(t, Run(t.Context(), f.host, "v0.1.0"), errEnough)
	assert.Contains(t, f.console.String(), "imgbuild: phase data-disk retry (waiting for the data disk "+dataPath)
}
