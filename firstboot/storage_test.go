package firstboot

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
)

const diskBytes = 16 << 20

// rookMachine has disks that are files, which the real wipefs looks at.
func rookMachine(t *testing.T, disks map[string]func(file string)) (*fake, *machine) {
	f := newFake(t)
	n := testNode()
	n.Name, n.Role, n.InitMaster = "rook-1", roleRook, false
	image := testImageFile()
	image.Role = roleRook
	for _, name := range slices.Sorted(maps.Keys(disks)) {
		path := "/dev/disk/by-id/" + name
		n.Disks = append(n.Disks, node.Disk{Path: path, Size: diskBytes})
		if disks[name] == nil {
			continue
		}
		f.file("/dev/"+name, "")
		file := filepath.Join(f.root, "dev", name)
		require.NoError(t, os.Truncate(file, diskBytes))
		disks[name](file)
		require.NoError(t, os.MkdirAll(filepath.Join(f.root, "dev/disk/by-id"), 0o755))
		require.NoError(t, os.Symlink("../../"+name, filepath.Join(f.root, path)))
		info, err := os.Stat(file)
		require.NoError(t, err)
		f.file("/sys/class/block/"+name+"/size", fmt.Sprintln(info.Size()/512))
	}
	f.programs["wipefs"] = func(c Command) error {
		args := append(c.Args[:len(c.Args)-1:len(c.Args)-1], filepath.Join(f.root, c.Args[len(c.Args)-1]))
		cmd := exec.CommandContext(t.Context(), "wipefs", args...)
		cmd.Stdout, cmd.Stderr = c.Stdout, c.Stderr
		return cmd.Run()
	}
	f.identity(n, image)
	return f, f.machine()
}

// TestDisksAreLookedAtAndLeftAlone: whatever is on a disk is still there, and
// the node goes on.
func TestDisksAreLookedAtAndLeftAlone(t *testing.T) {
	tool := func(name string, args ...string) func(string) {
		return func(file string) {
			out, err := exec.CommandContext(t.Context(), name, append(args, file)...).CombinedOutput()
			require.NoError(t, err, string(out))
		}
	}
	write := func(at int64, data string) func(string) {
		return func(file string) {
			f, err := os.OpenFile(file, os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte(data), at)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
	}
	f, m := rookMachine(t, map[string]func(string){
		"a-empty":   func(string) {},
		"b-ext4":    tool("mkfs.ext4", "-q", "-L", "payroll"),
		"c-swap":    tool("mkswap"),
		"d-ceph":    write(0, "bluestore block device\n4a6c1c5e-3d0a-4b2e-9d55-0123456789ab\n"),
		"e-unknown": write(4096, "a database that nobody knows"),
		"f-missing": nil,
		"g-small":   func(file string) { require.NoError(t, os.Truncate(file, diskBytes/2)) },
	})
	before := contentsOf(t, f)
	assert.EqualError(t, m.lookAtDisks(t.Context()), "waiting for somebody to look at /dev/disk/by-id/e-unknown: it holds data that no program here knows, and Ceph would take the disk for an empty one: clear its first MiB, or take it out of cluster.yaml")
	assert.True(t, maps.Equal(before, contentsOf(t, f)), "not a byte is changed")
	require.NoError(t, os.Truncate(filepath.Join(f.root, "dev/e-unknown"), 0))
	require.NoError(t, os.Truncate(filepath.Join(f.root, "dev/e-unknown"), diskBytes))
	f.console.Reset()
	before = contentsOf(t, f)
	require.NoError(t, m.lookAtDisks(t.Context()))
	assert.True(t, maps.Equal(before, contentsOf(t, f)), "not a byte is changed")

	golden(t, "disks.console", f.console.String())
	s, err := ReadStatus(f.host)
	require.NoError(t, err)
	states := ""
	for _, d := range s.Disks {
		states += d.State + " "
	}
	assert.Equal(t, "empty used used ceph empty missing empty ", states)
}

func contentsOf(t *testing.T, f *fake) map[string]string {
	all := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(f.root, "dev"))
	require.NoError(t, err)
	for _, e := range entries {
		if e.Type().IsRegular() {
			data, err := os.ReadFile(filepath.Join(f.root, "dev", e.Name()))
			require.NoError(t, err)
			all[e.Name()] = string(data)
		}
	}
	return all
}

// After a boot Ceph's own volumes are on the disks.
func TestVolumesOfCephAreItsOwn(t *testing.T) {
	for name, want := range map[string]string{"ceph-block-3f": DiskCeph, "backup": DiskUsed, "": DiskUsed} {
		f, m := rookMachine(t, map[string]func(string){"a": func(string) {}})
		f.programs["wipefs"] = func(c Command) error {
			fmt.Fprint(c.Stdout, `{"signatures": [{"device":"a","offset":"0x218","type":"LVM2_member","uuid":"x","label":null}]}`)
			return nil
		}
		f.programs["lvm"] = func(c Command) error { fmt.Fprintln(c.Stdout, "  "+name); return nil }
		s := m.lookAtDisk(t.Context(), m.node.Disks[0])
		assert.Equal(t, want, s.State, s.Detail)
	}
}

func TestKernelModulesOfStorage(t *testing.T) {
	f, m := rookMachine(t, map[string]func(string){"a": func(string) {}})
	f.file("/proc/filesystems", "nodev\tsysfs\n\text4\n")
	assert.ErrorContains(t, m.checkModules(t.Context()), "kernel module rbd")
	f.file("/sys/module/rbd/refcnt", "0\n")
	assert.ErrorContains(t, m.checkModules(t.Context()), "kernel module ceph")
	f.file("/proc/filesystems", "nodev\tsysfs\n\text4\nnodev\tceph\n")
	assert.NoError(t, m.checkModules(t.Context()))
}

// TestAStorageNodeJoinsWithItsTaint: kubeadm is told so before any pod comes.
func TestAStorageNodeJoinsWithItsTaint(t *testing.T) {
	_, m := rookMachine(t, map[string]func(string){"a": func(string) {}})
	m.node.Taints = []node.Taint{{Key: "storage-node", Value: "true", Effect: "NoSchedule"}}
	m.node.Labels = map[string]string{"role": "storage-node"}
	config, err := joinConfig(m.node, joinOptions{token: strings.Repeat("a", 6) + "." + strings.Repeat("b", 16)})
	require.NoError(t, err)
	assert.Contains(t, string(config), "  taints:\n  - effect: NoSchedule\n    key: storage-node\n    value: \"true\"\n")
	assert.Contains(t, string(config), "role=storage-node")
}

// TestStorageIsMadeLast: nobody's joining waits for it.
func TestStorageIsMadeLast(t *testing.T) {
	f := newFake(t)
	last := func() string {
		phases := f.machine().masterPhases()
		return phases[len(phases)-1].Name
	}
	assert.Equal(t, "service-test", last())
	f.file(node.ImageStorageDir+"/rook-1-crds.yaml", "")
	assert.Equal(t, "storage", last())
}
