package manifest

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/components"
	"imgbuild/builder/disk"
	"imgbuild/builder/packages"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// example describes an image with some of everything.
func example() Manifest {
	sum := func(digit string) string { return strings.Repeat(digit, 64) }
	return Manifest{
		Version: Version, Role: "master", Plan: sum("a"), Epoch: 1_700_006_400, Arch: "amd64", Base: "debian-13",
		RootHash: sum("b"), UKI: UKI{Path: "EFI/Linux/imgbuild-a.efi", SHA256: sum("c")},
		DiskUUID: "11111111-2222-4333-8444-555555555555",
		Partitions: []disk.Written{
			{Name: "esp", Type: disk.TypeESP, UUID: "11111111-2222-4333-8444-555555555501", Start: 1 << 20, Size: 256 << 20, Content: 256 << 20, SHA256: sum("d")},
			{Name: "_empty", Type: disk.TypeRoot, UUID: "11111111-2222-4333-8444-555555555502", Start: 257 << 20, Size: 1 << 30},
		},
		Files: []ImageFile{
			{Name: "master.raw", Format: "raw", Size: 3 << 30, SHA256: sum("e")},
			{Name: "master.qcow2", Format: "qcow2", Size: 1 << 28, SHA256: sum("f")},
		},
		Packages: []packages.Package{
			{Name: "libc6", Version: "2.41-12", Arch: "amd64", File: "pool/main/g/glibc/libc6.deb", Archive: "debian", SHA256: sum("1"), Size: 10},
			{Name: "tzdata", Version: "2026a-0", Arch: "all", File: "pool/main/t/tzdata/tzdata.deb", Archive: "debian", SHA256: sum("2"), Size: 20},
		},
		BootPackages: []packages.Package{
			{Name: "libstdc++6", Version: "1:14.2.0-19+b1", Arch: "amd64", File: "pool/main/g/gcc-14/libstdc++6.deb", Archive: "debian", SHA256: sum("6"), Size: 30},
		},
		Components: []components.Component{
			{Name: "containerd", Version: "v2.1.0", Source: components.SourceModules, Go: "go1.26.0", Inputs: sum("3")},
			{Name: "imgbuild-firstboot", Version: "0a1b2c", Source: "self", Inputs: sum("4")},
		},
		Images: []Image{{Ref: "registry.k8s.io/pause:3.10.2", Digest: "sha256:" + sum("5")}},
	}
}

func TestGolden(t *testing.T) {
	m := example()
	for name, write := range map[string]func(string) error{"manifest.json": m.Write, "spdx.json": m.WriteSBOM} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), name)
			require.NoError(t, write(file))
			got, err := os.ReadFile(file)
			require.NoError(t, err)
			golden := filepath.Join("testdata", "master."+name)
			if *update {
				require.NoError(t, os.WriteFile(golden, got, 0o644))
				return
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err, "make it with: go test ./builder/manifest -update")
			assert.Equal(t, string(want), string(got), "accept a change with: go test ./builder/manifest -update")
		})
	}
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	m := example()
	require.NoError(t, os.WriteFile(File(dir, "master"), []byte("an older one"), 0o644))
	require.NoError(t, m.Write(File(dir, "master")))
	require.NoError(t, m.WriteSBOM(SBOMFile(dir, "master")))
	back, err := Read(File(dir, "master"))
	require.NoError(t, err)
	assert.Equal(t, m, back)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	assert.Equal(t, "master.manifest.json", entries[0].Name())
	assert.Equal(t, "master.spdx.json", entries[1].Name())
}

func TestUnreadable(t *testing.T) {
	for name, c := range map[string]struct{ content, want string }{
		"empty":         {"", "EOF"},
		"cut":           {`{"version": 2, "role": "mas`, "unexpected EOF"},
		"unknown key":   {`{"version": 2, "rolle": "master"}`, `unknown field "rolle"`},
		"other version": {`{"version": 1}`, "version 1, this imgbuild reads 2: build the image again"},
	} {
		t.Run(name, func(t *testing.T) {
			file := File(t.TempDir(), "master")
			require.NoError(t, os.WriteFile(file, []byte(c.content), 0o644))
			_, err := Read(file)
			assert.ErrorContains(t, err, file+": ")
			assert.ErrorContains(t, err, c.want)
		})
	}
	_, err := Read(File(t.TempDir(), "master"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

var (
	spdxID    = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)
	namespace = regexp.MustCompile(`^https://spdx\.org/spdxdocs/imgbuild-master-[0-9a-f-]{36}$`)
)

// TestSBOM reads the bill of materials back and holds it to SPDX 2.3: what the
// library does not check itself is asserted here.
func TestSBOM(t *testing.T) {
	file := SBOMFile(t.TempDir(), "master")
	require.NoError(t, example().WriteSBOM(file))
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	var d v2_3.Document
	require.NoError(t, spdxjson.ReadInto(f, &d))

	assert.Equal(t, "SPDX-2.3", d.SPDXVersion)
	assert.Equal(t, "CC0-1.0", d.DataLicense)
	assert.EqualValues(t, "DOCUMENT", d.SPDXIdentifier)
	assert.Regexp(t, namespace, d.DocumentNamespace)
	created, err := time.Parse("2006-01-02T15:04:05Z", d.CreationInfo.Created)
	require.NoError(t, err)
	assert.EqualValues(t, 1_700_006_400, created.Unix(), "not the time of the build")

	ids := map[common.ElementID]*v2_3.Package{}
	for _, p := range d.Packages {
		assert.Regexp(t, spdxID, string(p.PackageSPDXIdentifier))
		assert.NotContains(t, ids, p.PackageSPDXIdentifier, "identifiers are unique")
		ids[p.PackageSPDXIdentifier] = p
		assert.NotEmpty(t, p.PackageName)
		assert.NotEmpty(t, p.PackageVersion, p.PackageName)
		assert.NotEmpty(t, p.PackageDownloadLocation, p.PackageName)
		assert.False(t, p.FilesAnalyzed, p.PackageName)
	}
	within := map[common.ElementID]common.ElementID{}
	for _, r := range d.Relationships {
		from, to := r.RefA.ElementRefID, r.RefB.ElementRefID
		assert.Contains(t, ids, to, "every relationship leads to a package")
		if r.Relationship == "DESCRIBES" {
			assert.EqualValues(t, "DOCUMENT", from)
			assert.EqualValues(t, "image-master", to)
			continue
		}
		assert.Equal(t, "CONTAINS", r.Relationship)
		within[to] = from
	}
	assert.Equal(t, map[common.ElementID]common.ElementID{
		"deb-libc6-amd64": "image-master", "deb-tzdata-all": "image-master", "boot-master": "image-master",
		"boot-deb-libstdcplusplus6-amd64": "boot-master", // and not in the root
		"component-containerd":            "image-master", "component-imgbuild-firstboot": "image-master",
		"oci-registry.k8s.io-pause-3.10.2": "image-master",
	}, within)
	assert.Len(t, ids, len(within)+1, "all are somewhere in the image")
	plus := ids["boot-deb-libstdcplusplus6-amd64"]
	assert.Equal(t, "pkg:deb/debian/libstdc%2B%2B6@1:14.2.0-19%2Bb1?arch=amd64", plus.PackageExternalReferences[0].Locator)
	assert.Contains(t, plus.PackageComment, "in the initramfs or on the ESP, none in the root")
	assert.Equal(t, "pkg:deb/debian/libc6@2.41-12?arch=amd64", ids["deb-libc6-amd64"].PackageExternalReferences[0].Locator)
	assert.Equal(t, strings.Repeat("1", 64), ids["deb-libc6-amd64"].PackageChecksums[0].Value)
	assert.Equal(t, "pkg:golang/github.com/containerd/containerd/v2@v2.1.0", ids["component-containerd"].PackageExternalReferences[0].Locator)
	assert.Empty(t, ids["component-imgbuild-firstboot"].PackageExternalReferences, "nobody can fetch it by a name")
}
