package roles

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder"
	"imgbuild/builder/components"
	"imgbuild/builder/images"
	"imgbuild/builder/packages"
	"imgbuild/builder/rootfs"
	"imgbuild/cluster"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// small is a cluster that says no more than Resolve needs.
func small() *cluster.Cluster {
	return &cluster.Cluster{Base: "debian-13", Kubernetes: cluster.Kubernetes{CNI: "flannel"}}
}

// own are the programs that go into every image.
var own = []components.Component{
	{Name: AgentName, Version: "0a1b2c", Source: builder.SourceSelf, Inputs: "0a1b2c3d4e5f"},
	{Name: InstallerName, Version: "1b2c3d", Source: builder.SourceSelf, Inputs: "1b2c3d4e5f60"},
}

// lockOf is a lock as Pin would make it for the roles, with one package in each
// tree, and components whose inputs are their names.
func lockOf(t *testing.T, s Source, cl *cluster.Cluster, names ...string) Lock {
	t.Helper()
	l := Lock{Version: LockVersion, Epoch: 1_700_006_400, Trees: map[string]Tree{}}
	specs, err := components.All()
	require.NoError(t, err)
	for _, spec := range specs {
		l.Components = append(l.Components, components.Component{
			Name: spec.Name, Version: "v1.0.0", Source: components.SourceModules, Go: "go1.26.0", Inputs: spec.Name + "-inputs",
		})
	}
	for _, name := range names {
		r, err := s.load(name, cl)
		require.NoError(t, err)
		for _, ref := range sorted(r.Images) {
			if !images.Composed(ref) {
				l.Images = append(l.Images, images.Image{Ref: ref, Inputs: "inputs of " + ref, Digest: "sha256:" + strings.Repeat("ab", 32)})
			}
		}
	}
	wanted, err := s.wanted(cl, names)
	require.NoError(t, err)
	for _, w := range wanted {
		for _, tree := range w.trees {
			l.Trees[tree.Name] = Tree{Source: w.source, Want: sorted(tree.Want), Packages: []packages.Package{{
				Name: "some", Version: "1.0-1", Arch: "amd64", File: "pool/main/s/some.deb", Archive: "debian",
				SHA256: "package of " + tree.Name, Size: 1000,
			}}}
		}
	}
	return l
}

func TestResolveGolden(t *testing.T) {
	for _, role := range []string{"master", "worker", "lb", "etcd", "harbor"} {
		t.Run(role, func(t *testing.T) {
			l := lockOf(t, Source{}, small(), role)
			p, err := Source{}.Resolve(small(), role, l, own)
			require.NoError(t, err)
			again, err := Source{}.Resolve(small(), role, l, own)
			require.NoError(t, err)
			assert.Equal(t, p.Hash(), again.Hash(), "the same cluster, lock and programs give the same plan")
			golden(t, role, p)
		})
	}
}

// golden compares the plan of a role with its file. What is in the files is in
// this folder to be read; the golden file says which there are.
func golden(t *testing.T, role string, p builder.Plan) {
	t.Helper()
	for i := range p.Files {
		p.Files[i].Data = nil
	}
	for i := range p.BootFiles {
		p.BootFiles[i].Data = nil
	}
	var got bytes.Buffer
	e := json.NewEncoder(&got)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(p))
	file := filepath.Join("testdata", role+".plan.json")
	if *update {
		require.NoError(t, os.WriteFile(file, got.Bytes(), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "make it with: go test ./roles -update")
	assert.Equal(t, string(want), got.String(), "accept a change with: go test ./roles -update")
}

// TestWorkerIsAMasterWithoutControlPlane: what both have is the same, so that
// they share layers; what a worker lacks are the images of the control plane.
func TestWorkerIsAMasterWithoutControlPlane(t *testing.T) {
	l := lockOf(t, Source{}, small(), "master", "worker")
	plan := func(role string) (builder.Plan, []string) {
		p, err := Source{}.Resolve(small(), role, l, own)
		require.NoError(t, err)
		var refs []string
		for _, img := range p.Images {
			refs = append(refs, img.Ref)
		}
		return p, refs
	}
	master, onMaster := plan("master")
	worker, onWorker := plan("worker")
	assert.Equal(t, []string{
		"ghcr.io/flannel-io/flannel:v0.28.4", "registry.k8s.io/coredns/coredns:v1.14.2",
		"registry.k8s.io/kube-proxy:v1.36.3", "registry.k8s.io/pause:3.10.2",
	}, onWorker)
	assert.Subset(t, onMaster, onWorker)
	assert.Equal(t, master.Packages.Base, worker.Packages.Base)
	assert.Equal(t, master.Packages.Boot, worker.Packages.Boot)
	assert.Equal(t, l.Trees["debian-13/master"].Want, l.Trees["debian-13/worker"].Want)
	fromComponents := func(p builder.Plan) []rootfs.File {
		return slices.DeleteFunc(slices.Clone(p.Files), func(f rootfs.File) bool { return f.From == "" })
	}
	assert.Subset(t, fromComponents(master), fromComponents(worker))
	assert.Equal(t, master.Initramfs, worker.Initramfs)
	assert.Equal(t, master.BootFiles, worker.BootFiles)
}

func TestUnknownRole(t *testing.T) {
	_, err := Source{}.Resolve(small(), "mster", Lock{}, own)
	assert.True(t, IsUnknownRole(err))
	ours, namesErr := Source{}.Names()
	require.NoError(t, namesErr)
	assert.EqualError(t, err, "role mster: no such role; there are: "+strings.Join(ours, ", "))
	assert.Subset(t, ours, []string{"master", "worker"})
}

func TestWhatCannotBeResolved(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*cluster.Cluster)
		want   string
	}{
		{"base", func(c *cluster.Cluster) { c.Base = "rocky-9" }, "role master: base rocky-9: this imgbuild cannot build images of it yet; there are: debian-13"},
		{"pod network", func(c *cluster.Cluster) { c.Kubernetes.CNI = "weave" }, "role master: part cni-weave: there is no parts/cni-weave/part.yaml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := small()
			l := lockOf(t, Source{}, cl, "master")
			c.change(cl)
			_, err := Source{}.Resolve(cl, "master", l, own)
			assert.EqualError(t, err, c.want)
		})
	}
}

// TestClusterDecides changes cluster.yaml and looks at what comes of it.
func TestClusterDecides(t *testing.T) {
	cl := small()
	cl.Kubernetes.CNI = "none"
	cl.Mirrors = map[string]string{"debian-13": "http://mirror.example.com/debian"}
	cl.Roles = map[cluster.Role]cluster.RoleOptions{"master": {Packages: []string{"nfs-common"}}}
	l := lockOf(t, Source{}, cl, "master")
	p, err := Source{}.Resolve(cl, "master", l, own)
	require.NoError(t, err)
	for _, img := range p.Images {
		assert.NotContains(t, img.Ref, "flannel")
	}
	assert.Equal(t, "http://mirror.example.com/debian", p.Base.Mirror)
	assert.Equal(t, p.Base.Mirror, p.Tools.Mirror)
	assert.Contains(t, l.Trees["debian-13/master"].Want, "nfs-common")
}

func TestPinHasEveryComponent(t *testing.T) {
	var l Lock
	require.NoError(t, pinComponents(t.Context(), &l))
	specs, err := components.All()
	require.NoError(t, err)
	require.Len(t, l.Components, len(specs))
	for i, c := range l.Components {
		assert.Equal(t, specs[i].Name, c.Name)
		assert.Len(t, c.Inputs, 64)
		assert.NotEmpty(t, c.Go)
	}
}
