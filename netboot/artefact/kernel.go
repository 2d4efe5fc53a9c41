package artefact

import (
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
// wants kernel and initramfs alone. None of them is ever in memory as a whole.
func kernelFiles(image string, m manifest.Manifest, path func(ext string) string) error {
	sum, err := copyUKI(image, m, path(ExtUKI))
	if err != nil {
		return fmt.Errorf("read %s of %s: %w", m.UKI.Path, image, err)
	}
	if sum != m.UKI.SHA256 {
		return fmt.Errorf("%s of %s has SHA-256 %s, its manifest says %s: build it again", m.UKI.Path, image, sum, m.UKI.SHA256)
	}
	uki, err := pe.Open(path(ExtUKI))
	if err != nil {
		return fmt.Errorf("%s of %s: %w", m.UKI.Path, image, err)
	}
	defer uki.Close()
	for name, ext := range map[string]string{".linux": ExtKernel, ".initrd": ExtInitrd, ".cmdline": extCmdline} {
		if err := copySection(uki, name, path(ext)); err != nil {
			return fmt.Errorf("%s of %s: section %s: %w", m.UKI.Path, image, name, err)
		}
	}
	return nil
}

// copyUKI copies the kernel image to a file and returns its hex SHA-256.
func copyUKI(image string, m manifest.Manifest, to string) (sum string, err error) {
	if len(m.Partitions) == 0 {
		return "", errors.New("its manifest has no partitions")
	}
	d, err := file.OpenFromPath(image, true)
	if err != nil {
		return "", err
	}
	defer d.Close()
	esp, err := fat32.Read(d, m.Partitions[0].Size, m.Partitions[0].Start, sector)
	if err != nil {
		return "", err
	}
	in, err := esp.OpenFile("/"+strings.TrimPrefix(m.UKI.Path, "/"), os.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return "", err
	}
	whole := sha256.New()
	_, err = io.CopyBuffer(io.MultiWriter(out, whole), struct{ io.Reader }{in}, make([]byte, chunk))
	return hex.EncodeToString(whole.Sum(nil)), errors.Join(err, out.Close())
}

// copySection writes a section of a PE file without its padding:
// https://uapi-group.org/specifications/specs/unified_kernel_image/
func copySection(uki *pe.File, name, to string) error {
	s := uki.Section(name)
	if s == nil || s.VirtualSize == 0 {
		return errors.New("it is not there")
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(s.Open(), int64(s.VirtualSize)))
	return errors.Join(err, out.Close())
}
