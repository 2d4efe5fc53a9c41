package roles

import (
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder"
	"imgbuild/cluster"
)

// withStorage is a cluster with a storage node.
func withStorage(rook cluster.Rook) *cluster.Cluster {
	cl := small()
	cl.Rook = rook
	cl.Nodes = []cluster.Node{{Name: "rook-1", Role: cluster.RoleRook}}
	return cl
}

// planWith resolves a role; the second value are the names of its images.
func planWith(t *testing.T, cl *cluster.Cluster, role string) (builder.Plan, []string) {
	t.Helper()
	p, err := Source{}.Resolve(cl, role, lockOf(t, Source{}, cl, role), own)
	require.NoError(t, err)
	var refs []string
	for _, img := range p.Images {
		refs = append(refs, img.Ref)
	}
	return p, refs
}

func TestStorageNode(t *testing.T) {
	_, onWorker := planWith(t, small(), "worker")

	p, refs := planWith(t, withStorage(cluster.Rook{Images: cluster.RookRegistry}), "rook")
	assert.Equal(t, onWorker, refs, "registry: nothing of Ceph is baked")
	var paths []string
	for _, f := range p.Files {
		paths = append(paths, f.Path)
	}
	assert.Contains(t, paths, "/usr/lib/modules-load.d/imgbuild-storage.conf")

	_, refs = planWith(t, withStorage(cluster.Rook{Images: cluster.RookBaked}), "rook")
	assert.Subset(t, refs, append(onWorker, "docker.io/rook/ceph:v1.18.8", "quay.io/ceph/ceph:v19.2.3"))

	// Volumes are attached on all nodes.
	for _, role := range []string{"worker", "master"} {
		_, refs = planWith(t, withStorage(cluster.Rook{Images: cluster.RookBaked}), role)
		assert.Contains(t, refs, "quay.io/cephcsi/cephcsi:v3.15.0", role)
		_, refs = planWith(t, withStorage(cluster.Rook{Images: cluster.RookRegistry}), role)
		assert.NotContains(t, strings.Join(refs, " "), "ceph", role)
	}
}

// TestOnlyClusterYAMLLetsMastersStartRook looks at what the init master applies.
func TestOnlyClusterYAMLLetsMastersStartRook(t *testing.T) {
	objects := func(apply bool) (names []string) {
		p, _ := planWith(t, withStorage(cluster.Rook{Images: cluster.RookRegistry, Apply: apply}), "master")
		for _, f := range p.Files {
			if path.Dir(f.Path) == "/usr/share/imgbuild/storage" {
				names = append(names, path.Base(f.Path))
			}
		}
		return names
	}
	assert.Empty(t, objects(false))
	assert.Equal(t, []string{"rook-1-crds.yaml", "rook-2-common.yaml", "rook-3-csi-operator.yaml", "rook-4-operator.yaml"}, objects(true))
}

// TestSeededRegistry: the image of the registry carries what the others bake.
func TestSeededRegistry(t *testing.T) {
	cl := small()
	cl.Registry = cluster.Registry{Kind: cluster.RegistryDistribution, Host: "10.77.0.51", Seeded: true}
	cl.Nodes = []cluster.Node{{Name: "master-1", Role: cluster.RoleMaster}, {Name: "harbor-1", Role: cluster.RoleHarbor}}
	p, baked := planWith(t, cl, "harbor")
	assert.Empty(t, baked, "nothing runs in containers there")
	var as []string
	for _, img := range p.Seeded {
		as = append(as, img.As)
	}
	assert.Contains(t, as, "registry.k8s.io/kube-apiserver:v1.36.3")
	assert.Contains(t, as, "ghcr.io/flannel-io/flannel:v0.28.4")
	assert.Len(t, as, 8)

	p, _ = planWith(t, cl, "master")
	assert.Empty(t, p.Seeded)
}
