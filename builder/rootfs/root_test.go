package rootfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"imgbuild/builder/cache"
	"imgbuild/builder/packages"
)

var debian = packages.Source{Name: "debian-13", Family: "apt", Suite: "trixie", Components: []string{"main"}}

// TestATreeIsReproducible makes a small real Debian tree with a layer on top
// in two caches and compares every file.
func TestATreeIsReproducible(t *testing.T) {
	if os.Getenv("IMGBUILD_TEST_ROOT") == "" {
		t.Skip("needs root and a Debian mirror: set IMGBUILD_TEST_ROOT=1")
	}
	trees, err := packages.Resolve(t.Context(), cache.Cache{Root: t.TempDir()}, debian, []packages.Tree{
		{Name: "base", Want: []string{"passwd", "systemd"}},
		{Name: "more", Want: []string{"nftables"}, On: "base"},
	})
	require.NoError(t, err)
	for _, p := range trees["more"] {
		assert.NotContains(t, trees["base"], p, "a package is in one layer only")
	}
	for _, p := range trees["base"] {
		assert.NotEqual(t, "apt", p.Name, "nothing is installed on a node later")
	}

	var sums [2]map[string]string
	for i := range sums {
		sums[i] = makeTree(t, trees)
	}
	assert.Equal(t, sums[0], sums[1])
	assert.Contains(t, sums[0], "1/usr/sbin/nft")
	assert.Contains(t, sums[0], "2/etc/example")
	assert.Contains(t, sums[0], "2/etc/systemd/system/multi-user.target.wants/example.service")
	assert.NotContains(t, sums[0], "0/usr/sbin/policy-rc.d")
	assert.NotContains(t, sums[0], "1/usr/sbin/policy-rc.d")
	assert.Contains(t, sums[0], "0/usr/share/doc/passwd/copyright")
}

func makeTree(t *testing.T, trees map[string][]packages.Package) map[string]string {
	t.Helper()
	c := cache.Cache{Root: t.TempDir()}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	for _, pkgs := range trees {
		require.NoError(t, packages.Fetch(t.Context(), c, debian, pkgs, false, log))
		require.NoError(t, packages.Fetch(t.Context(), c, debian, pkgs, true, log), "a full cache needs no network")
	}
	m := Maker{Cache: c, Epoch: 1_700_000_000, Log: log, Output: io.Discard}
	base, err := m.Base(t.Context(), trees["base"])
	require.NoError(t, err)
	id, err := os.ReadFile(filepath.Join(base.Dir, "etc/machine-id"))
	require.NoError(t, err)
	assert.Equal(t, "uninitialized\n", string(id))
	more, err := m.Add(t.Context(), []Layer{base}, trees["more"])
	require.NoError(t, err)
	files, err := m.Files(t.Context(), []Layer{base, more}, Content{
		Files: []File{
			{Path: "/etc/example", Mode: 0o600, Data: []byte("x\n")},
			{Path: "/usr/lib/systemd/system/example.service", Mode: 0o644,
				Data: []byte("[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n")},
		},
		Enable: []string{"example.service"},
	}, func(string) (string, error) { return "", errors.New("no component is named") })
	require.NoError(t, err)
	return sumTree(t, base.Dir, more.Dir, files.Dir)
}

// sumTree maps LAYER/PATH to mode, owner, names of attributes and content.
func sumTree(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	for i, dir := range dirs {
		require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			name := fmt.Sprint(i) + strings.TrimPrefix(p, dir)
			assert.EqualValues(t, 1_700_000_000, info.ModTime().Unix(), name)
			size, err := unix.Llistxattr(p, nil)
			if err != nil {
				return err
			}
			names := make([]byte, size)
			if _, err := unix.Llistxattr(p, names); err != nil {
				return err
			}
			stat := info.Sys().(*syscall.Stat_t)
			meta := fmt.Sprintf("%s %d:%d %q ", info.Mode(), stat.Uid, stat.Gid, names)
			switch {
			case info.Mode()&fs.ModeSymlink != 0:
				target, err := os.Readlink(p)
				sums[name] = meta + "-> " + target
				return err
			case info.Mode().IsRegular():
				data, err := os.ReadFile(p)
				sum := sha256.Sum256(data)
				sums[name] = meta + hex.EncodeToString(sum[:])
				return err
			}
			sums[name] = meta
			return nil
		}))
	}
	return sums
}

func TestACancelledBuildLeavesNothing(t *testing.T) {
	c := cache.Cache{Root: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := Maker{Cache: c, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Output: io.Discard}
	_, err := m.Base(ctx, []packages.Package{{Name: "base-files", Version: "1", Arch: "amd64", SHA256: "0"}})
	require.ErrorIs(t, err, context.Canceled)
	for _, kind := range []string{"scratch", "layers"} {
		left, err := filepath.Glob(filepath.Join(c.Root, kind, "*"))
		require.NoError(t, err)
		assert.Empty(t, left)
	}
}

func TestCleanShadow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shadow")
	require.NoError(t, os.WriteFile(path, []byte("root:*:20000:0:99999:7:::\n"), 0o640))
	require.NoError(t, fixShadow(path, 86400*100))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "root:*:100:0:99999:7:::\n", string(data))
}
