package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tree makes a layer like a distribution's: merged /usr and a private /root.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "usr/bin"), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "root"), 0o700))
	require.NoError(t, os.Symlink("usr/bin", filepath.Join(dir, "bin")))
	return dir
}

func TestPlacedFilesKeepTheTreesDirectories(t *testing.T) {
	lower, dir, part := tree(t), t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(part, "tool"), []byte("tool"), 0o600))
	component := func(name string) (string, error) {
		if name != "part" {
			return "", errors.New("no such component")
		}
		return part, nil
	}
	for _, f := range []File{
		{Path: "/root/note", Data: []byte("x")},
		{Path: "/usr/bin/tool", From: "part/tool"},
		{Path: "/opt/new/dir", Dir: true, Mode: 0o1777},
		{Path: "/opt/link", Link: "new"},
	} {
		require.NoError(t, Maker{}.place(dir, []string{lower}, f, component), f.Path)
	}
	for path, want := range map[string]os.FileMode{
		"root":         os.ModeDir | 0o700,
		"root/note":    0o644,
		"usr/bin/tool": 0o755,
		"opt/new/dir":  os.ModeDir | os.ModeSticky | 0o777,
		"opt/new":      os.ModeDir | 0o755,
	} {
		info, err := os.Stat(filepath.Join(dir, path))
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode(), path)
	}
}

// TestALayerSharesAComponentsFile, where mode and time may be the layer's.
func TestALayerSharesAComponentsFile(t *testing.T) {
	const epoch = 1_700_000_000
	part := t.TempDir()
	tool := filepath.Join(part, "tool")
	require.NoError(t, os.WriteFile(tool, []byte("tool"), 0o755))
	shared := func(epoch int64, mode uint32) bool {
		t.Helper()
		dir := t.TempDir()
		m := Maker{Epoch: epoch}
		require.NoError(t, m.place(dir, nil, File{Path: "/tool", From: "part/tool", Mode: mode}, func(string) (string, error) { return part, nil }))
		require.NoError(t, neutral(dir, epoch))
		placed, err := os.Stat(filepath.Join(dir, "tool"))
		require.NoError(t, err)
		assert.Equal(t, epoch, placed.ModTime().Unix())
		own, err := os.Stat(tool)
		require.NoError(t, err)
		return os.SameFile(placed, own)
	}
	assert.False(t, shared(epoch, 0o700), "another mode")
	assert.True(t, shared(epoch, 0))
	assert.True(t, shared(epoch, 0o755), "the same time as the layer before")
	assert.False(t, shared(epoch+1, 0), "the layers before have another time")
}

func TestPlacingRefuses(t *testing.T) {
	lower := tree(t)
	none := func(string) (string, error) { return "", errors.New("no such component") }
	for want, f := range map[string]File{
		"/bin is no directory in the tree": {Path: "/bin/tool"},
		"not a clean absolute path":        {Path: "/etc/../usr/x"},
		"want COMPONENT/FILE":              {Path: "/usr/x", From: "part/../../x"},
		"no such component":                {Path: "/usr/x", From: "part/x"},
	} {
		assert.ErrorContains(t, Maker{}.place(t.TempDir(), []string{lower}, f, none), want)
	}
}

func TestCleanKeepsLicencesAndDirectories(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"usr/share/doc/a/copyright", "usr/share/doc/a/changelog.gz", "usr/share/doc/a/NEWS.gz",
		"var/log/service/old.log", "var/cache/thing/file", "etc/ssh/ssh_host_rsa_key", "etc/machine-id",
		"boot/vmlinuz-1", "boot/config-1", "vmlinuz",
	} {
		require.NoError(t, writeFile(filepath.Join(dir, name), []byte("x"), 0o644))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "usr/lib/modules/1"), 0o755))
	require.NoError(t, clean(dir, 1_700_000_000))

	assert.FileExists(t, filepath.Join(dir, "usr/share/doc/a/copyright"))
	assert.FileExists(t, filepath.Join(dir, "boot/vmlinuz-1"))
	assert.FileExists(t, filepath.Join(dir, "usr/lib/modules/1/config"))
	assert.DirExists(t, filepath.Join(dir, "var/log/service"))
	assert.DirExists(t, filepath.Join(dir, "var/cache/thing"))
	for _, gone := range []string{
		"usr/share/doc/a/changelog.gz", "usr/share/doc/a/NEWS.gz", "var/log/service/old.log",
		"var/cache/thing/file", "etc/ssh/ssh_host_rsa_key", "vmlinuz",
	} {
		assert.NoFileExists(t, filepath.Join(dir, gone))
	}
	id, err := os.ReadFile(filepath.Join(dir, "etc/machine-id"))
	require.NoError(t, err)
	assert.Equal(t, "uninitialized\n", string(id))
	info, err := os.Stat(filepath.Join(dir, "usr/share"))
	require.NoError(t, err)
	assert.EqualValues(t, 1_700_000_000, info.ModTime().Unix())
}
