package manifest

import (
	"bytes"
	"fmt"
	"regexp"
	"time"

	"github.com/google/uuid"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"imgbuild/builder/components"
)

// WriteSBOM writes the SPDX 2.3 document of the image as JSON, whole or not at
// all. It names packages of the base, components and container images; it
// states no licences, since nothing here has read them.
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
	add := func(p *v2_3.Package) {
		d.Packages = append(d.Packages, p)
		d.Relationships = append(d.Relationships, relation(image.PackageSPDXIdentifier, p.PackageSPDXIdentifier, "CONTAINS"))
	}
	for _, p := range m.Packages {
		s := spdxPackage("deb-"+p.Name+"-"+p.Arch, p.Name, p.Version, fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s", p.Name, p.Version, p.Arch))
		s.PackageChecksums = sha256Sum(p.SHA256)
		add(s)
	}
	for _, c := range m.Components {
		add(spdxPackage("component-"+c.Name, c.Name, c.Version, purl(c)))
	}
	for _, i := range m.Images {
		add(spdxPackage("oci-"+i.Ref, i.Ref, i.Digest, ""))
	}
	return d
}

// purl names the Go module that a component is compiled from.
func purl(c components.Component) string {
	s, err := components.Find(c.Name)
	if err != nil {
		return "" // a program of imgbuild's own
	}
	return "pkg:golang/" + s.Module + "@" + c.Version
}

var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

func spdxPackage(id, name, version, purl string) *v2_3.Package {
	p := &v2_3.Package{
		PackageSPDXIdentifier: common.ElementID(notInID.ReplaceAllString(id, "-")),
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
