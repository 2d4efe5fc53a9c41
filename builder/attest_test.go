package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/disk"
	"imgbuild/builder/images"
	"imgbuild/builder/manifest"
	"imgbuild/builder/packages"
)

// attested is a build whose raw image has been written and verified.
func attested(t *testing.T, out string, formats ...string) *run {
	t.Helper()
	p, image := example(), []byte("the raw image")
	sum := sha256.Sum256(image)
	r := &run{
		Builder: newBuilder(t), plan: p, hash: p.Hash(), dir: t.TempDir(), out: out, formats: formats,
		baked: images.Baked{Digests: map[string]string{p.Images[0].Ref: "sha256:00"}}, rawSum: hex.EncodeToString(sum[:]),
		table: []disk.Written{{Name: "esp"}},
	}
	r.root.uki = filepath.Join(r.dir, "slot.efi")
	require.NoError(t, os.WriteFile(r.root.uki, []byte("uki"), 0o644))
	require.NoError(t, os.WriteFile(r.raw(), image, 0o644))
	return r
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestAttest(t *testing.T) {
	out := t.TempDir()
	// Of an earlier build, in a format that is not wanted now.
	built(t, Plan{Role: "master", Epoch: 1}, out, FormatQcow2)
	r := attested(t, out, FormatRaw)
	r.plan.Packages.Tools = append(r.plan.Packages.Tools, packages.Package{Name: "systemd-boot-efi", Version: "1.0"})
	r.hash = r.plan.Hash()
	m, err := r.attest(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"master.manifest.json", "master.raw", "master.spdx.json"}, names(t, out))

	back, err := manifest.Read(manifest.File(out, "master"))
	require.NoError(t, err)
	assert.Equal(t, m, back)
	assert.Equal(t, r.hash, m.Plan)
	sum, err := SumFile(filepath.Join(out, "master.raw"))
	require.NoError(t, err)
	assert.Equal(t, []manifest.ImageFile{{Name: "master.raw", Format: "raw", Size: 13, SHA256: sum}}, m.Files)
	assert.Equal(t, []manifest.Image{{Ref: "registry.k8s.io/pause:3.10.2", Digest: "sha256:00"}}, m.Images)
	var pkgs []string
	for _, p := range m.Packages {
		pkgs = append(pkgs, p.Name)
	}
	assert.Subset(t, pkgs, []string{"base", "role"})
	assert.NotContains(t, pkgs, "tools", "the tools tree is in no image")
	pkgs = nil
	for _, p := range m.BootPackages {
		pkgs = append(pkgs, p.Name)
	}
	assert.Equal(t, []string{"boot", "systemd-boot-efi"}, pkgs, "what the initramfs and the ESP are made from, the boot loader of the tools tree too")

	_, ok := r.present(r.plan, out, r.formats)
	assert.True(t, ok, "what a build leaves is not built again")
}

// TestAttestThatFails cannot convert the image: what was there stays, and
// nothing half-made is beside it.
func TestAttestThatFails(t *testing.T) {
	out := t.TempDir()
	built(t, Plan{Role: "master", Epoch: 1}, out, FormatRaw)
	before := filesBelow(t, out)
	r := attested(t, out, FormatRaw, FormatQcow2)
	r.tools = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.attest(ctx)
	assert.Error(t, err)
	assert.Equal(t, before, filesBelow(t, out))
}

// TestManifestIsLast: whoever finds a manifest finds all that it names.
func TestManifestIsLast(t *testing.T) {
	out := t.TempDir()
	built(t, Plan{Role: "master", Epoch: 1}, out, FormatRaw)
	r := attested(t, out, FormatRaw)
	// A bill of materials that cannot be written.
	require.NoError(t, os.Remove(manifest.SBOMFile(out, "master")))
	require.NoError(t, os.MkdirAll(filepath.Join(manifest.SBOMFile(out, "master"), "in the way"), 0o755))
	_, err := r.attest(t.Context())
	assert.Error(t, err)
	left := names(t, out)
	assert.NotContains(t, left, "master.manifest.json", "the old one would speak of another image")
	for _, name := range left {
		assert.NotEqual(t, ".part", filepath.Ext(name), name)
	}
	assert.True(t, slices.Contains(left, "master.raw"))
}

// TestUUIDs are the plan's own: two plans have none in common.
func TestUUIDs(t *testing.T) {
	a, b := &run{hash: "a"}, &run{hash: "b"}
	assert.Equal(t, a.uuid("root"), (&run{hash: "a"}).uuid("root"))
	assert.NotEqual(t, a.uuid("root"), a.uuid("verity"))
	assert.NotEqual(t, a.uuid("root"), b.uuid("root"))
}
