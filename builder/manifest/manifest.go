// Package manifest is what imgbuild says about an image it has built: the
// manifest for programs, and a software bill of materials (SPDX) for audits.
//
// It describes; it does not look into images. Reading an image back is the
// business of package disk.
package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"imgbuild/builder/components"
	"imgbuild/builder/disk"
	"imgbuild/builder/packages"
)

// Version is the only accepted version of a manifest.
const Version = 2

// Manifest describes one image completely.
type Manifest struct {
	Version int    `json:"version"`
	Role    string `json:"role"`
	// Plan is the plan's hash, hex SHA-256.
	Plan string `json:"plan"`
	// Epoch is the one time in the image, seconds since 1970.
	Epoch int64  `json:"epoch"`
	Arch  string `json:"arch"`
	Base  string `json:"base"`
	// RootHash is dm-verity's of the root file system.
	RootHash string `json:"rootHash"`
	UKI      UKI    `json:"uki"`
	// DiskUUID and Partitions are the partition table's.
	DiskUUID   string         `json:"diskUUID"`
	Partitions []disk.Written `json:"partitions"`
	// Files are the image in each format.
	Files    []ImageFile        `json:"files"`
	Packages []packages.Package `json:"packages"`
	// BootPackages are those that only the initramfs and the ESP have files of.
	BootPackages []packages.Package     `json:"bootPackages"`
	Components   []components.Component `json:"components"`
	Images       []Image                `json:"images"`
	// Seeded are in the storage of the machine's own registry.
	Seeded []Image `json:"seeded,omitempty"`
}

// UKI is the unified kernel image on the ESP.
type UKI struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

// ImageFile is the image in one format.
type ImageFile struct {
	Name   string `json:"name"`
	Format string `json:"format"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Image is one baked container image.
type Image struct {
	Ref string `json:"ref"`
	// Digest is its manifest's: "sha256:…".
	Digest string `json:"digest"`
}

// File is the manifest's path in a folder.
func File(dir, role string) string { return filepath.Join(dir, role+".manifest.json") }

// SBOMFile is the bill of materials' path in a folder.
func SBOMFile(dir, role string) string { return filepath.Join(dir, role+".spdx.json") }

// Read reads a manifest strictly.
func Read(file string) (Manifest, error) {
	var m Manifest
	data, err := os.ReadFile(file)
	if err != nil {
		return m, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("%s: %w", file, err)
	}
	if m.Version != Version {
		return m, fmt.Errorf("%s: version %d, this imgbuild reads %d: build the image again", file, m.Version, Version)
	}
	return m, nil
}

// Write writes the manifest, whole or not at all.
func (m Manifest) Write(file string) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return replace(file, append(data, '\n'))
}

func replace(file string, data []byte) error {
	tmp := file + ".part"
	defer os.Remove(tmp)
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}
