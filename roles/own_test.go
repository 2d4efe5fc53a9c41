package roles

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/rootfs"
	"imgbuild/cluster"
)

// ownFolder writes a folder of own roles and reads from it.
func ownFolder(t *testing.T, files map[string]string) Source {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	s, err := NewSource(dir)
	require.NoError(t, err)
	return s
}

const gpuRole = `
description: a worker with a card
parts: [machine, kubernetes, gpu]
disk: {esp: 256, root: 2048, verity: 32, state: 512}
packages: {apt: [pciutils]}
enable: [gpu.service]
cmdline: [iommu=pt]
`

// TestOwnRole adds a role with a part of its own, which no Go code knows.
func TestOwnRole(t *testing.T) {
	s := ownFolder(t, map[string]string{
		"gpu/role.yaml":                           gpuRole,
		"gpu/rootfs/etc/crictl.yaml":              "timeout: 99\n",
		"parts/gpu/part.yaml":                     "packages: {apt: [lshw], dnf: [lshw-dnf]}\n",
		"parts/gpu/rootfs/usr/bin/gpu":            "#!/bin/sh\n",
		"parts/gpu/rootfs/usr/lib/gpu.conf":       "on\n",
		"gpu/rootfs/usr/bin/ctr":                  "#!/bin/sh\n",
		"gpu/rootfs/usr/lib/gpu.conf":             "off\n",
		"gpu/rootfs/etc/systemd/system/gpu.mount": "",
	})
	names, err := s.Names()
	require.NoError(t, err)
	assert.Subset(t, names, []string{"gpu", "master", "worker"})

	cl := small()
	p, err := s.Resolve(cl, "gpu", lockOf(t, s, cl, "gpu"), own)
	require.NoError(t, err)
	assert.Equal(t, "gpu", p.Role)
	assert.EqualValues(t, 2048, p.Disk.Root)
	assert.Equal(t, "iommu=pt", p.Cmdline[len(p.Cmdline)-1], "the role's own come last and so win")
	assert.Contains(t, p.Enable, "gpu.service")
	assert.Contains(t, p.Enable, "containerd.service")
	assert.Equal(t, []string{"lshw", "pciutils", "runc", "socat"}, lockOf(t, s, cl, "gpu").Trees["debian-13/gpu"].Want)
	assert.Equal(t, rootfs.File{Path: "/usr/bin/gpu", Mode: 0o755, Data: []byte("#!/bin/sh\n")}, fileOf(t, p.Files, "/usr/bin/gpu"))
	assert.Equal(t, "timeout: 99\n", string(fileOf(t, p.Files, "/etc/crictl.yaml").Data), "the role's file replaces its part's")
	assert.Equal(t, "off\n", string(fileOf(t, p.Files, "/usr/lib/gpu.conf").Data))
	assert.Equal(t, rootfs.File{Path: "/usr/bin/ctr", Mode: 0o755, Data: []byte("#!/bin/sh\n")}, fileOf(t, p.Files, "/usr/bin/ctr"),
		"also where its part takes that from a component")
	for _, img := range p.Images {
		assert.NotContains(t, img.Ref, "kube-apiserver")
	}
}

func fileOf(t *testing.T, files []rootfs.File, path string) rootfs.File {
	t.Helper()
	found := slices.IndexFunc(files, func(f rootfs.File) bool { return f.Path == path })
	require.GreaterOrEqual(t, found, 0, path)
	return files[found]
}

// TestOwnRoleReplacesOurs takes the name of a role of ours, parts untouched.
func TestOwnRoleReplacesOurs(t *testing.T) {
	s := ownFolder(t, map[string]string{"master/role.yaml": gpuRole, "parts/gpu/part.yaml": ""})
	p, err := s.Resolve(small(), "master", lockOf(t, s, small(), "master"), own)
	require.NoError(t, err)
	assert.Contains(t, p.Cmdline, "iommu=pt")
	names, err := s.Names()
	require.NoError(t, err)
	ours, err := Source{}.Names()
	require.NoError(t, err)
	assert.Equal(t, ours, names)
}

// TestOwnBase adds a distribution release, which no Go code knows either.
func TestOwnBase(t *testing.T) {
	s := ownFolder(t, map[string]string{"bases/debian-14.yaml": "name: debian-14\nfamily: apt\nsuite: forky\ncomponents: [main]\npackages: {base: [systemd]}\n"})
	cl := small()
	cl.Roles = map[cluster.Role]cluster.RoleOptions{"master": {Base: "debian-14"}}
	p, err := s.Resolve(cl, "master", lockOf(t, s, cl, "master"), own)
	require.NoError(t, err)
	assert.Equal(t, "forky", p.Base.Suite)
	assert.Equal(t, "trixie", p.Tools.Suite, "image tools do not depend on the image's base")
}

func TestBrokenOwnRole(t *testing.T) {
	const disk = "\ndisk: {esp: 1, root: 1, verity: 1, state: 1}\n"
	for name, c := range map[string]struct{ role, want string }{
		"unknown key":  {"descripton: x" + disk, "role own: own/role.yaml: yaml: unmarshal errors:\n  line 1: field descripton not found"},
		"missing part": {"parts: [gone]" + disk, "role own: part gone: there is no parts/gone/part.yaml"},
		"no disk":      {"parts: [machine]\n", "role own: role.yaml: disk: want esp, root, verity and state, each in MiB and more than 0"},
		"two kinds":    {"files: [{path: /x, dir: true, link: y}]" + disk, "role own: file /x: want exactly one of from, link and dir"},
		"no kind":      {"files: [{path: /x}]" + disk, "role own: file /x: want exactly one of from, link and dir"},
		"component":    {"files: [{path: /x, from: nothing/x}]" + disk, "has no component nothing"},
		"image":        {"images: [docker.io/busybox:1]" + disk, "imgbuild.lock has no image docker.io/busybox:1: run imgbuild lock"},
	} {
		t.Run(name, func(t *testing.T) {
			s := ownFolder(t, map[string]string{"own/role.yaml": c.role})
			l := Lock{}
			if _, err := s.load("own", small()); err == nil {
				l = lockOf(t, s, small(), "own")
				l.Images = nil
			}
			_, err := s.Resolve(small(), "own", l, own)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

func TestNewSource(t *testing.T) {
	_, err := NewSource(filepath.Join(t.TempDir(), "gone"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err = NewSource(file)
	assert.ErrorContains(t, err, "not a directory")
}

// TestPartsThatTheClusterChooses: words in the names of parts.
func TestPartsThatTheClusterChooses(t *testing.T) {
	s := ownFolder(t, map[string]string{
		"own/role.yaml":                       "parts: [\"net-{cni}-{balancer}\"]\ndisk: {esp: 1, root: 1, verity: 1, state: 1}\n",
		"parts/net-flannel-none/part.yaml":    "enable: [none.service]\n",
		"parts/net-none-keepalived/part.yaml": "enable: [keepalived.service]\n",
	})
	for _, test := range []struct {
		cni  string
		lb   cluster.LoadBalancer
		want string
	}{
		{"flannel", cluster.LoadBalancer{}, "none.service"},
		{"flannel", cluster.LoadBalancer{Mode: cluster.LBKeepalived}, "none.service"},
		{"flannel", cluster.LoadBalancer{Mode: cluster.LBExternal, CoLocated: true}, "none.service"},
		{"none", cluster.LoadBalancer{Mode: cluster.LBKeepalived, CoLocated: true}, "keepalived.service"},
	} {
		cl := small()
		cl.Kubernetes.CNI, cl.LoadBalancer = test.cni, test.lb
		r, err := s.load("own", cl)
		require.NoError(t, err)
		assert.Equal(t, []string{test.want}, r.Enable)
	}
}

// TestTreesOfTwoRoles asks for each tree once, however many roles share it.
func TestTreesOfTwoRoles(t *testing.T) {
	s := ownFolder(t, map[string]string{"gpu/role.yaml": gpuRole, "parts/gpu/part.yaml": ""})
	l := lockOf(t, s, small(), "gpu", "master")
	assert.Equal(t, []string{"compiler", "debian-13/base", "debian-13/boot", "debian-13/gpu", "debian-13/master", "tools"}, slices.Sorted(maps.Keys(l.Trees)))
	wanted, err := s.wanted(small(), []string{"gpu", "master"})
	require.NoError(t, err)
	assert.Len(t, wanted["debian-13"].trees, 6)
}

// TestNamesThatAreNoRoles are not listed, and refused with the reason.
func TestNamesThatAreNoRoles(t *testing.T) {
	s := ownFolder(t, map[string]string{
		"base/role.yaml": gpuRole, "boot/role.yaml": gpuRole, "parts/role.yaml": gpuRole, "GPU 1/role.yaml": gpuRole,
	})
	names, err := s.Names()
	require.NoError(t, err)
	ours, err := Source{}.Names()
	require.NoError(t, err)
	assert.Equal(t, ours, names)
	for name, want := range map[string]string{
		"base":      "role base: no such role: imgbuild itself uses this name, choose another one",
		"boot":      "role boot: no such role: imgbuild itself uses this name, choose another one",
		"GPU 1":     `role "GPU 1": no such role: expected a-z, 0-9 and -, with a letter or digit at both ends`,
		"../master": `role "../master": no such role: expected a-z, 0-9 and -, with a letter or digit at both ends`,
	} {
		_, err := s.Resolve(small(), name, Lock{}, own)
		assert.EqualError(t, err, want)
		assert.True(t, IsUnknownRole(err))
	}
}
