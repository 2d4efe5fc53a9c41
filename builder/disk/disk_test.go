package disk

import (
	"crypto/sha256"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/cache"
	"imgbuild/builder/packages"
	"imgbuild/builder/rootfs"
)

const (
	uuid        = "11111111-2222-4333-8444-555555555555"
	epoch int64 = 1_700_000_000
)

func TestHalves(t *testing.T) {
	root, verity := Halves("3cc1534cff55ce47eb1bddec5ee5b808b934c330b12ed7929856abe99fb55ef8")
	assert.Equal(t, "3cc1534c-ff55-ce47-eb1b-ddec5ee5b808", root)
	assert.Equal(t, "b934c330-b12e-d792-9856-abe99fb55ef8", verity)
}

// TestFileSystems uses the real tools.
func TestFileSystems(t *testing.T) {
	if os.Getenv("IMGBUILD_TEST_ROOT") == "" {
		t.Skip("needs root and a Debian mirror: set IMGBUILD_TEST_ROOT=1")
	}
	tools := Tools{Layers: []string{toolsTree(t)}, Epoch: epoch, Output: io.Discard}
	t.Run("twice", func(t *testing.T) { testTwice(t, tools) })
	t.Run("state", func(t *testing.T) { testState(t, tools) })
}

// testTwice makes every file system twice and compares them byte by byte, then
// changes one byte of the root.
func testTwice(t *testing.T, tools Tools) {
	tree := smallTree(t)
	var sums [2]map[string][32]byte
	var dir, hash string
	for i := range sums {
		dir = t.TempDir()
		hash = makeAll(t, tools, tree, dir)
		sums[i] = map[string][32]byte{}
		for _, f := range []string{"root.erofs", "root.verity", "state.ext4", "esp.vfat"} {
			data, err := os.ReadFile(filepath.Join(dir, f))
			require.NoError(t, err)
			sums[i][f] = sha256.Sum256(data)
		}
	}
	assert.Equal(t, sums[0], sums[1])

	data, verity := filepath.Join(dir, "root.erofs"), filepath.Join(dir, "root.verity")
	require.NoError(t, tools.CheckRoot(t.Context(), data, verity, hash))
	require.NoError(t, tools.CheckState(t.Context(), filepath.Join(dir, "state.ext4"), 0))
	flip(t, data)
	assert.ErrorContains(t, tools.CheckRoot(t.Context(), data, verity, hash), "root.erofs does not match its root hash")
}

func makeAll(t *testing.T, tools Tools, tree, dir string) string {
	t.Helper()
	path := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, tools.Root(t.Context(), []string{tree}, path("root.erofs"), uuid))
	hash, err := tools.Verity(t.Context(), path("root.erofs"), path("root.verity"), uuid, strings.Repeat("00", 32))
	require.NoError(t, err)
	store := map[string]string{"lib/store": filepath.Join(tree, "usr")}
	makeState(t, tools, State{Layers: []string{tree}, Extra: store, UUID: uuid, MinMiB: 64}, path("state.ext4"), 0)
	uki, err := os.ReadFile(filepath.Join(tree, "usr/big"))
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(path("esp/EFI/Linux"), 0o755))
	require.NoError(t, os.WriteFile(path("esp/EFI/Linux/slot-a.efi"), uki, 0o644))
	require.NoError(t, tools.ESP(t.Context(), path("esp"), path("esp.vfat"), "12345678", 64))
	require.NoError(t, tools.CheckESP(t.Context(), path("esp.vfat")))
	return hash
}

func makeState(t *testing.T, tools Tools, s State, file string, offset int64) {
	t.Helper()
	size, content, err := s.Size()
	require.NoError(t, err)
	require.Less(t, content, size)
	require.NoError(t, makeEmpty(file, offset+size))
	require.NoError(t, tools.MakeState(t.Context(), s, file, offset, size, t.TempDir()))
	require.NoError(t, tools.CheckState(t.Context(), file, offset))
}

func flip(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, 5000)
	require.NoError(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b, 5000)
	require.NoError(t, err)
}

func smallTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, size := range map[string]int{"usr/big": 300_000, "usr/small": 10, "var/lib/file": 5000, "etc/file": 3} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat("imgbuild ", size/9+1)), 0o644))
	}
	return dir
}

func toolsTree(t *testing.T) string {
	t.Helper()
	debian := packages.Source{Name: "debian-13", Family: "apt", Suite: "trixie", Components: []string{"main"}}
	c := cache.Cache{Root: t.TempDir()}
	trees, err := packages.Resolve(t.Context(), c, debian, []packages.Tree{{
		Name: "tools", Want: []string{"cryptsetup-bin", "dosfstools", "e2fsprogs", "erofs-utils", "mtools"},
	}})
	require.NoError(t, err)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	require.NoError(t, packages.Fetch(t.Context(), c, debian, trees["tools"], false, log))
	m := rootfs.Maker{Cache: c, Epoch: epoch, Log: log, Output: io.Discard}
	tree, err := m.Base(t.Context(), trees["tools"])
	require.NoError(t, err)
	return tree.Dir
}
