package roles

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/components"
	"imgbuild/builder/packages"
	"imgbuild/cluster"
)

func TestStaleLock(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*cluster.Cluster, *Lock)
		want   string
	}{
		{"other packages wanted", func(cl *cluster.Cluster, _ *Lock) {
			cl.Roles = map[cluster.Role]cluster.RoleOptions{"master": {Packages: []string{"strace"}}}
		}, "role master: imgbuild.lock has other packages of debian-13/master than are wanted now: run imgbuild lock"},
		{"other mirror", func(cl *cluster.Cluster, _ *Lock) {
			cl.Mirrors = map[string]string{"debian-13": "http://mirror.example.com/debian"}
		}, "role master: imgbuild.lock has packages of tools from another mirror or release: run imgbuild lock"},
		{"other components of the archive", func(_ *cluster.Cluster, l *Lock) {
			tree := l.Trees["debian-13/master"]
			tree.Source.Components = []string{"main", "contrib"}
			l.Trees["debian-13/master"] = tree
		}, "role master: imgbuild.lock has packages of debian-13/master from the archive's components main contrib, now main are wanted: run imgbuild lock"},
		{"no tree", func(_ *cluster.Cluster, l *Lock) { delete(l.Trees, "debian-13/master") },
			"role master: imgbuild.lock has no packages of debian-13/master: run imgbuild lock"},
		{"missing component", func(_ *cluster.Cluster, l *Lock) {
			l.Components = slices.DeleteFunc(l.Components, func(c components.Component) bool { return c.Name == "containerd" })
		}, "role master: imgbuild.lock has no component containerd: run imgbuild lock"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := small()
			l := lockOf(t, Source{}, cl, "master")
			c.change(cl, &l)
			_, err := Source{}.Resolve(cl, "master", l, own)
			assert.EqualError(t, err, c.want)
		})
	}
}

func TestLockFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "imgbuild.lock")
	l := lockOf(t, Source{}, small(), "master")
	require.NoError(t, l.Write(file))
	back, err := ReadLock(file)
	require.NoError(t, err)
	assert.Equal(t, l, back)

	first, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, back.Write(file))
	second, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(first), string(second), "a lock in version control changes only where it says something else")
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*.part"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestUnreadableLock(t *testing.T) {
	for name, c := range map[string]struct{ content, want string }{
		"empty":         {"", "EOF: run imgbuild lock"},
		"cut":           {`{"version": 1, "epoch": 17`, "unexpected EOF: run imgbuild lock"},
		"not JSON":      {"version: 1\n", "invalid character 'v'"},
		"unknown key":   {`{"version": 1, "epochs": 1}`, `unknown field "epochs"`},
		"wrong type":    {`{"version": 1, "epoch": "today"}`, "Lock.epoch of type int64: run imgbuild lock"},
		"other version": {`{"version": 7}`, "version 7, this imgbuild reads 2: run imgbuild lock"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "imgbuild.lock")
			require.NoError(t, os.WriteFile(file, []byte(c.content), 0o644))
			_, err := ReadLock(file)
			assert.ErrorContains(t, err, file)
			assert.ErrorContains(t, err, c.want)
		})
	}
	_, err := ReadLock(filepath.Join(t.TempDir(), "imgbuild.lock"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, "run imgbuild lock")
}

func TestKeepEpoch(t *testing.T) {
	old := lockOf(t, Source{}, small(), "master")
	fresh := lockOf(t, Source{}, small(), "master")
	fresh.Epoch += 86400
	assert.Equal(t, old.Epoch, fresh.KeepEpoch(old).Epoch, "nothing else has changed: images stay the same")
	fresh.Components[0].Inputs = "others"
	assert.Equal(t, fresh, fresh.KeepEpoch(old))
	assert.Equal(t, fresh, fresh.KeepEpoch(Lock{}), "there was none")
}

func TestChanges(t *testing.T) {
	lock := func(version string, packages ...packages.Package) Lock {
		return Lock{
			Components: []components.Component{{Name: "etcd", Version: version, Inputs: "0123456789abcdef", Go: "go1.26.0"}},
			Trees:      map[string]Tree{"debian-13/base": {Packages: packages}},
		}
	}
	old := lock("v3.6.7", packages.Package{Name: "dash", Version: "1"}, packages.Package{Name: "udev", Version: "257"})
	fresh := lock("v3.6.8", packages.Package{Name: "udev", Version: "257"}, packages.Package{Name: "zstd", Version: "2"})
	assert.Equal(t, []string{
		"  ~ component etcd v3.6.7 (inputs 0123456789ab, go1.26.0) → v3.6.8 (inputs 0123456789ab, go1.26.0)",
		"  + package zstd 2",
		"  - package dash 1",
	}, fresh.Changes(old))
	assert.Empty(t, fresh.Changes(fresh))
	assert.Empty(t, fresh.Changes(Lock{}), "a first lock has nothing to compare with")
}

func TestPackageCount(t *testing.T) {
	l := Lock{Trees: map[string]Tree{
		"tools":          {Packages: []packages.Package{{SHA256: "a"}, {SHA256: "b"}}},
		"debian-13/base": {Packages: []packages.Package{{SHA256: "b"}, {SHA256: "c"}}},
	}}
	assert.Equal(t, 3, l.PackageCount())
}
