package components

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/cache"
)

// module is what `go mod edit -json` prints of a go.mod.
type module struct {
	Require []struct{ Path, Version string }
	Tool    []struct{ Path string }
}

func readModule(t *testing.T, name string) module {
	t.Helper()
	data, err := embedded.ReadFile(name + "/module.mod")
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "go.mod")
	require.NoError(t, os.WriteFile(file, data, 0o644))
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", file).Output()
	require.NoError(t, err)
	var m module
	require.NoError(t, json.Unmarshal(out, &m))
	return m
}

func (m module) version(path string) string {
	for _, r := range m.Require {
		if r.Path == path {
			return r.Version
		}
	}
	return ""
}

func TestAllComponentsCanBeResolved(t *testing.T) {
	specs, err := All()
	require.NoError(t, err)
	var names []string
	for _, s := range specs {
		names = append(names, s.Name)
		c, err := Resolve(s.Name, "go1.26.0")
		require.NoError(t, err, s.Name)
		assert.Len(t, c.Inputs, 64, s.Name)
		assert.Equal(t, s.Version, c.Version)
	}
	assert.Equal(t, []string{
		"cni-plugins", "containerd", "coredns", "etcd", "flannel", "ignition", "kubernetes", "pause", "registry", "rook",
	}, names)
}

// What component.yaml says is what module.mod requires, and refresh.sh looks at
// the packages that are built.
func TestComponentAgreesWithItsModule(t *testing.T) {
	specs, err := All()
	require.NoError(t, err)
	for _, s := range specs {
		m := readModule(t, s.Name)
		if s.Name != "pause" { // has a version of its own
			assert.Equal(t, s.Version, m.version(s.Module), s.Name)
		}
		var packages, tools []string
		for _, p := range s.Programs {
			if p.Package != "main.go" {
				packages = append(packages, p.Package)
			}
		}
		for _, tool := range m.Tool {
			tools = append(tools, tool.Path)
		}
		slices.Sort(packages)
		slices.Sort(tools)
		assert.Equal(t, packages, tools, s.Name)
	}
}

func TestComponentsOfOneProjectAreOfOneVersion(t *testing.T) {
	assert.Equal(t, readModule(t, "kubernetes").version("k8s.io/kubernetes"), readModule(t, "pause").version("k8s.io/kubernetes"))
	etcd := readModule(t, "etcd")
	assert.Equal(t, etcd.version("go.etcd.io/etcd/server/v3"), etcd.version("go.etcd.io/etcd/etcdctl/v3"))
	assert.Equal(t, etcd.version("go.etcd.io/etcd/server/v3"), etcd.version("go.etcd.io/etcd/etcdutl/v3"))
}

func TestInputsFollowTheGoRelease(t *testing.T) {
	a, err := Resolve("etcd", "go1.26.0")
	require.NoError(t, err)
	b, err := Resolve("etcd", "go1.26.1")
	require.NoError(t, err)
	assert.NotEqual(t, a.Inputs, b.Inputs)
	_, err = Resolve("nothing", "go1.26.0")
	assert.ErrorContains(t, err, "component nothing: there is none of this name; known are cni-plugins, containerd")
}

func TestStampsAreFilled(t *testing.T) {
	s, err := Find("kubernetes")
	require.NoError(t, err)
	ld := buildFlags(s, Program{})[3]
	assert.Contains(t, ld, "-X k8s.io/component-base/version.gitVersion=v1.36.3")
	assert.Contains(t, ld, "-X k8s.io/component-base/version.gitMinor=36")
	assert.NotContains(t, ld, "{")
	s, err = Find("containerd")
	require.NoError(t, err)
	assert.Contains(t, buildFlags(s, Program{})[3], "version.Version=2.4.2")
}

func TestLockOfAnotherImgbuildIsRefused(t *testing.T) {
	good, err := Resolve("etcd", "go1.26.0")
	require.NoError(t, err)
	b := Builder{Cache: cache.Cache{Root: t.TempDir()}}
	for change, want := range map[string]struct {
		edit func(*Component)
		err  string
	}{
		"inputs":  {func(c *Component) { c.Inputs = "0123456789abcdef" }, "component etcd: imgbuild.lock has inputs 0123456789ab…, this imgbuild has " + good.Inputs[:12] + "…: run imgbuild lock"},
		"version": {func(c *Component) { c.Version = "v3.6.1" }, "component etcd: imgbuild.lock has version v3.6.1, this imgbuild has v3.6.8: run imgbuild lock"},
		"source":  {func(c *Component) { c.Source = "release" }, `component etcd: imgbuild.lock has source "release", this imgbuild makes "modules" only: run imgbuild lock`},
		"no Go":   {func(c *Component) { c.Go = "" }, "component etcd: imgbuild.lock names no Go release: run imgbuild lock"},
		"Go":      {func(c *Component) {}, "component etcd: imgbuild.lock wants go1.26.0 to compile it, this host has "},
	} {
		c := good
		want.edit(&c)
		_, err := b.Build(t.Context(), c)
		assert.ErrorContains(t, err, want.err, change)
	}
	left, err := os.ReadDir(filepath.Join(b.Cache.Root, "scratch"))
	require.NoError(t, err)
	assert.Empty(t, left, "scratch")
}

// With a full cache neither Go nor modules are needed.
func TestCachedComponentNeedsNoGo(t *testing.T) {
	c, err := Resolve("etcd", "go1.26.0")
	require.NoError(t, err)
	b := Builder{Cache: cache.Cache{Root: t.TempDir()}, Offline: true}
	want := b.Cache.Path("components/etcd", c.Inputs)
	require.NoError(t, os.MkdirAll(want, 0o755))
	t.Setenv("PATH", t.TempDir())
	dir, err := b.Build(t.Context(), c)
	require.NoError(t, err)
	assert.Equal(t, want, dir)
}

func TestOtherToolsMakeAnotherEntry(t *testing.T) {
	ignition, err := Find("ignition")
	require.NoError(t, err)
	etcd, err := Find("etcd")
	require.NoError(t, err)
	c := Component{Inputs: "abc"}
	assert.NotEqual(t, Builder{CompilerKey: "a"}.key(ignition, c), Builder{CompilerKey: "b"}.key(ignition, c))
	assert.Equal(t, Builder{CompilerKey: "a"}.key(etcd, c), Builder{CompilerKey: "b"}.key(etcd, c))
}

func TestOddComponentFilesAreRefused(t *testing.T) {
	good := func() Spec {
		return Spec{Name: "x", Version: "v1", Module: "m", Programs: []Program{{Package: "m/a", Output: "a"}}}
	}
	for want, edit := range map[string]func(*Spec){
		"want that of its folder":   func(s *Spec) { s.Name = "y" },
		"version is missing":        func(s *Spec) { s.Version = "" },
		"want one or more programs": func(s *Spec) { s.Programs = append(s.Programs, s.Programs[0]) },
		"stays below it":            func(s *Spec) { s.Programs[0].Output = "../a" },
		"need a module":             func(s *Spec) { s.Module = ""; s.Copy = []Copy{{From: "a", To: "b"}} },
	} {
		s := good()
		edit(&s)
		assert.ErrorContains(t, s.check("x"), want)
	}
	assert.NoError(t, good().check("x"))
}

func TestProgramNames(t *testing.T) {
	assert.Equal(t, "etcdctl", binaryName("go.etcd.io/etcd/etcdctl/v3"))
	assert.Equal(t, "internal", binaryName("github.com/coreos/ignition/v2/internal"))
	assert.Equal(t, "main", binaryName("main.go"))
}
