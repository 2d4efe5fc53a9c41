package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// item is a file of a tree that a state is made of. Links share its content.
type item struct {
	path, text string
	mode       uint32
	uid, gid   int
	links      []string
	xattrs     map[string]string
}

// acl is POSIX's user::rw- user:1000:r-- group::r-- mask::r-- other::---, as
// the kernel has it in an extended attribute: version 2, tag, permissions, id.
func acl() string {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [][3]uint32{{1, 6, 1<<32 - 1}, {2, 4, 1000}, {4, 4, 1<<32 - 1}, {16, 4, 1<<32 - 1}, {32, 0, 1<<32 - 1}} {
		b = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, uint16(e[0])), uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return string(b)
}

// stateItems are two layers and a store, each with marks of overlayfs: in the
// layers they are for us, in the store for the node's containerd.
func stateItems() map[string][]item {
	removed := item{mode: unix.S_IFCHR}
	at := func(i item, path string) item { i.path = path; return i }
	return map[string][]item{
		"base": {
			{path: "var/lib/one", text: "text", mode: 0o640, uid: 7, gid: 8, links: []string{"var/lib/two", "var/three"}},
			{path: "var/lib/acl", text: "text", mode: 0o640, xattrs: map[string]string{"system.posix_acl_access": acl(), "user.note": "kept"}},
			{path: "var/lib/setgid", mode: unix.S_IFDIR | 0o2750, gid: 9},
			{path: "var/lib/gone", text: "not there", mode: 0o644},
			{path: "var/lib/covered/old", text: "not there", mode: 0o644},
			{path: "var/run", text: "/run", mode: unix.S_IFLNK | 0o777},
			{path: "usr/lib/not", text: "not there", mode: 0o644},
		},
		"top": {
			at(removed, "var/lib/gone"),
			{path: "var/lib/covered", mode: unix.S_IFDIR | 0o755, xattrs: map[string]string{"trusted.overlay.opaque": "y"}},
			{path: "var/lib/covered/new", text: "text", mode: 0o644},
		},
		"store": {
			{path: ".", mode: unix.S_IFDIR | 0o711},
			at(removed, "snapshot/removed"),
			{path: "snapshot/opaque", mode: unix.S_IFDIR | 0o755, xattrs: map[string]string{"trusted.overlay.opaque": "y"}},
			{path: "snapshot/suid", text: "text", mode: 0o4755},
			{path: "snapshot/holes", text: strings.Repeat("\x00", 1<<20) + "end", mode: 0o600},
		},
	}
}

// plant makes the items in dir, in their order or the other way round, all with
// the time of the epoch. Files have been read since.
func plant(t *testing.T, dir string, items []item, backwards bool) {
	t.Helper()
	if backwards {
		items = slices.Clone(items)
		slices.Reverse(items)
	}
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for _, i := range items {
		path := filepath.Join(dir, i.path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch i.mode & unix.S_IFMT {
		case unix.S_IFCHR:
			require.NoError(t, unix.Mknod(path, unix.S_IFCHR, 0))
		case unix.S_IFLNK:
			require.NoError(t, os.Symlink(i.text, path))
			continue
		case unix.S_IFDIR:
			require.NoError(t, os.MkdirAll(path, 0o755))
		default:
			require.NoError(t, os.WriteFile(path, []byte(i.text), 0o600))
		}
		require.NoError(t, os.Lchown(path, i.uid, i.gid))
		require.NoError(t, unix.Chmod(path, i.mode&0o7777))
		for _, name := range slices.Sorted(maps.Keys(i.xattrs)) {
			require.NoError(t, unix.Lsetxattr(path, name, []byte(i.xattrs[name]), 0))
		}
		for _, l := range i.links {
			require.NoError(t, os.Link(path, filepath.Join(dir, l)))
		}
	}
	require.NoError(t, setTimes(dir, epoch))
	for _, i := range items {
		if i.mode&unix.S_IFMT == 0 {
			require.NoError(t, os.Chtimes(filepath.Join(dir, i.path), time.Now(), time.Unix(epoch, 0)))
		}
	}
}

// testState makes a state of merged layers and a store, and looks at what a node
// will find in it.
func testState(t *testing.T, tools Tools) {
	var made [2][]byte
	var dir string
	for n := range made {
		dir = t.TempDir()
		for name, items := range stateItems() {
			plant(t, filepath.Join(dir, name), items, n == 1)
		}
		s := State{
			Layers: []string{filepath.Join(dir, "base"), filepath.Join(dir, "top")},
			Extra:  map[string]string{"lib/containerd": filepath.Join(dir, "store")}, UUID: uuid, MinMiB: 64,
		}
		// First behind another partition, then alone.
		file, offset := filepath.Join(dir, "state.ext4"), int64(1-n)<<20
		makeState(t, tools, s, file, offset)
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, make([]byte, offset), data[:offset])
		made[n] = data[offset:]
	}
	assert.True(t, bytes.Equal(made[0], made[1]), "the same content gives the same bytes, in whatever order it came and wherever it is")

	debugfs := func(command string) string {
		t.Helper()
		out, err := tools.run(t.Context(), dir, nil, "debugfs", "-R", command, "/mnt/out/state.ext4")
		require.NoError(t, err)
		return out
	}
	checkInodes(t, debugfs)
	checkNames(t, debugfs)
}

// checkInodes looks at what is known of a file besides its content.
func checkInodes(t *testing.T, debugfs func(command string) string) {
	t.Helper()
	stamp := fmt.Sprintf("0x%08x", epoch)
	for path, want := range map[string][]string{
		"/":                                    {"Type: directory", "Mode:  0755", "User:     0   Group:     0"},
		"/etc/upper":                           {"Type: directory", "Mode:  0755"},
		"/etc/work":                            {"Type: directory", "Mode:  0755"},
		"/opt/upper":                           {"Type: directory", "Mode:  0755"},
		"/opt/work":                            {"Type: directory", "Mode:  0755"},
		"/var/run":                             {"Type: symlink", `Fast link dest: "/run"`},
		"/var/lib/one":                         {"Type: regular", "Mode:  0640", "User:     7   Group:     8", "Size: 4", "Links: 3"},
		"/var/lib/acl":                         {"system.posix_acl_access", `user.note (4) = "kept"`},
		"/var/lib/setgid":                      {"Mode:  02750", "User:     0   Group:     9"},
		"/var/lib/covered":                     {"Type: directory", "Mode:  0755"},
		"/var/lib/containerd":                  {"Type: directory", "Mode:  0711"},
		"/var/lib/containerd/snapshot/removed": {"Type: character special"},
		"/var/lib/containerd/snapshot/opaque":  {`trusted.overlay.opaque (1) = "y"`},
		"/var/lib/containerd/snapshot/suid":    {"Mode:  04755"},
		"/var/lib/containerd/snapshot/holes":   {"Size: 1048579", "Blockcount: 2"},
	} {
		got := debugfs("stat " + path)
		for _, w := range append(want, "ctime: "+stamp, "atime: "+stamp, "mtime: "+stamp) {
			assert.Contains(t, got, w, path)
		}
	}
	inode := func(path string) string { return strings.Fields(debugfs("stat " + path))[1] }
	assert.Equal(t, inode("/var/lib/one"), inode("/var/lib/two"))
	assert.Equal(t, inode("/var/lib/one"), inode("/var/three"))
}

// checkNames looks for what must be there, and for nothing else.
func checkNames(t *testing.T, debugfs func(command string) string) {
	t.Helper()
	for path, want := range map[string][]string{
		"/":                {".", "..", "etc", "lost+found", "opt", "var"},
		"/var":             {".", "..", "lib", "run", "three"},
		"/var/lib":         {".", "..", "acl", "containerd", "covered", "one", "setgid", "two"},
		"/var/lib/covered": {".", "..", "new"},
	} {
		var names []string
		for _, line := range strings.Split(debugfs("ls -p "+path), "\n") {
			if f := strings.Split(line, "/"); len(f) > 5 {
				names = append(names, f[5])
			}
		}
		slices.Sort(names)
		assert.Equal(t, want, names, path)
	}
}
