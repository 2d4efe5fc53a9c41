package manifest

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"imgbuild/builder/components"
	"imgbuild/builder/packages"
)

// WriteSBOM writes the SPDX 2.3 document of the image as JSON, whole or not at
// all. It names packages of the base, components and container images, and
// under a package "boot" of its own what only the initramfs and the ESP have
// files of. It states no licences, since nothing here has read them.
func (m Manifest) WriteSBOM(file string) error {
	var b bytes.Buffer
	if err := spdxjson.Write(m.sbom(), &b, spdxjson.Indent("  ")); err != nil {
		return fmt.Errorf("make SBOM: %w", err)
	}
	return replace(file, b.Bytes())
}

func (m Manifest) sbom() *v2_3.Document {
	name := "imgbuild-" + m.Role
	d := &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName:      name,
		DocumentNamespace: "https://spdx.org/spdxdocs/" + name + "-" + uuid.NewSHA1(uuid.NameSpaceURL, []byte(m.Plan)).String(),
		CreationInfo: &v2_3.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "imgbuild"}},
			Created:  time.Unix(m.Epoch, 0).UTC().Format(time.RFC3339),
		},
	}
	image := spdxPackage("image-"+m.Role, name, m.Plan[:12], "")
	if len(m.Files) > 0 {
		image.PackageChecksums = sha256Sum(m.Files[0].SHA256)
	}
	d.Packages = append(d.Packages, image)
	d.Relationships = append(d.Relationships, relation("DOCUMENT", image.PackageSPDXIdentifier, "DESCRIBES"))
	add := func(to, p *v2_3.Package) {
		d.Packages = append(d.Packages, p)
		d.Relationships = append(d.Relationships, relation(to.PackageSPDXIdentifier, p.PackageSPDXIdentifier, "CONTAINS"))
	}
	for _, p := range m.Packages {
		add(image, debian("deb-", p))
	}
	if len(m.BootPackages) > 0 {
		boot := spdxPackage("boot-"+m.Role, name+"-boot", m.Plan[:12], "")
		boot.PackageComment = "the initramfs and the boot loader, on the ESP"
		add(image, boot)
		for _, p := range m.BootPackages {
			s := debian("boot-deb-", p)
			s.PackageComment = "some of its files are in the initramfs or on the ESP, none in the root"
			add(boot, s)
		}
	}
	for _, c := range m.Components {
		add(image, spdxPackage("component-"+c.Name, c.Name, c.Version, purl(c)))
	}
	for _, i := range m.Images {
		add(image, spdxPackage("oci-"+i.Ref, i.Ref, i.Digest, ""))
	}
	return d
}

// debian describes a package of the base. prefix is its identifier's.
func debian(prefix string, p packages.Package) *v2_3.Package {
	s := spdxPackage(prefix+p.Name+"-"+p.Arch, p.Name, p.Version,
		fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s", escape(p.Name), escape(p.Version), p.Arch))
	s.PackageChecksums = sha256Sum(p.SHA256)
	return s
}

// purl names the Go module that a component is compiled from.
func purl(c components.Component) string {
	s, err := components.Find(c.Name)
	if err != nil {
		return "" // a program of imgbuild's own
	}
	return "pkg:golang/" + escape(strings.ToLower(s.Module)) + "@" + escape(c.Version)
}

// escape percent-encodes what the package-url specification does not leave as
// it is; a slash stays, it separates parts of a name.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < 0x80 && (unicode.IsLetter(rune(c)) || unicode.IsDigit(rune(c)) || strings.IndexByte(".-_~:/", c) >= 0) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

func spdxPackage(id, name, version, purl string) *v2_3.Package {
	p := &v2_3.Package{
		PackageSPDXIdentifier: common.ElementID(notInID.ReplaceAllString(strings.ReplaceAll(id, "+", "plus"), "-")),
		PackageName:           name, PackageVersion: version,
		PackageDownloadLocation: "NOASSERTION", PackageLicenseConcluded: "NOASSERTION",
		PackageLicenseDeclared: "NOASSERTION", PackageCopyrightText: "NOASSERTION",
	}
	if purl != "" {
		p.PackageExternalReferences = []*v2_3.PackageExternalReference{{
			Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: purl,
		}}
	}
	return p
}

func sha256Sum(hex string) []common.Checksum {
	return []common.Checksum{{Algorithm: common.SHA256, Value: hex}}
}

func relation(a, b common.ElementID, kind string) *v2_3.Relationship {
	return &v2_3.Relationship{
		RefA: common.MakeDocElementID("", string(a)), RefB: common.MakeDocElementID("", string(b)), Relationship: kind,
	}
}
