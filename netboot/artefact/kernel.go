package artefact

import (
	"bytes"
	"crypto/sha256"
	"debug/pe"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"imgbuild/builder/manifest"
)

// sector is the image's, in bytes.
const sector = 512

// kernelFiles takes the unified kernel image from the image's ESP, the first
// partition, and its sections apart: a firmware with UEFI starts it whole, a BIOS
// wants kernel and initramfs alone.
func kernelFiles(image string, m manifest.Manifest, path func(ext string) string) error {
	uki, err := readUKI(image, m)
	if err != nil {
		return fmt.Errorf("read %s of %s: %w", m.UKI.Path, image, err)
	}
	if sum := sha256.Sum256(uki); hex.EncodeToString(sum[:]) != m.UKI.SHA256 {
		return fmt.Errorf("%s of %s has SHA-256 %x, its manifest says %s: build it again", m.UKI.Path, image, sum, m.UKI.SHA256)
	}
	sections, err := sectionsOf(uki)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", m.UKI.Path, image, err)
	}
	for ext, data := range map[string][]byte{
		ExtUKI: uki, ExtKernel: sections[".linux"], ExtInitrd: sections[".initrd"],
		".cmdline": bytes.TrimRight(sections[".cmdline"], "\x00"),
	} {
		if len(data) == 0 {
			return fmt.Errorf("%s of %s has no %s", m.UKI.Path, image, strings.TrimPrefix(ext, "."))
		}
		if err := os.WriteFile(path(ext), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func readUKI(image string, m manifest.Manifest) ([]byte, error) {
	if len(m.Partitions) == 0 {
		return nil, errors.New("its manifest has no partitions")
	}
	d, err := file.OpenFromPath(image, true)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	esp, err := fat32.Read(d, m.Partitions[0].Size, m.Partitions[0].Start, sector)
	if err != nil {
		return nil, err
	}
	f, err := esp.OpenFile("/"+strings.TrimPrefix(m.UKI.Path, "/"), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// sectionsOf are the sections of a PE file by name, without the padding:
// https://uapi-group.org/specifications/specs/unified_kernel_image/
func sectionsOf(uki []byte) (map[string][]byte, error) {
	f, err := pe.NewFile(bytes.NewReader(uki))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sections := map[string][]byte{}
	for _, s := range f.Sections {
		data, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("section %s: %w", s.Name, err)
		}
		sections[s.Name] = data[:min(len(data), int(s.VirtualSize))]
	}
	return sections, nil
}
