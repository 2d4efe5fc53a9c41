// Package artefact makes what is served of an image: the compressed image, its
// manifest, and the kernel that starts the installer, which is the image's own.
//
// Everything is made once for an image and kept in the cache; how many machines
// ask for it changes nothing. It builds no image, and it signs nothing that it keeps.
package artefact

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"imgbuild/builder/cache"
	"imgbuild/builder/disk"
	"imgbuild/builder/manifest"
	"imgbuild/protocol"
)

// version changes whenever the same image would give other files.
const version = 2

// The endings of the files, after the role's name.
const (
	ExtImage     = ".raw.zst"
	ExtManifest  = ".json"
	ExtSignature = ".json.sig"
	ExtUKI       = ".efi"
	ExtKernel    = ".linux"
	ExtInitrd    = ".initrd"
	// extCmdline is the image's own kernel command line, which nobody is served.
	extCmdline = ".cmdline"
)

// Set is what is served of one role's image.
type Set struct {
	Role string
	// Dir has the files of all endings but the signature.
	Dir      string
	Manifest protocol.Manifest
	// Cmdline is the image's own kernel command line.
	Cmdline []string
}

// File is a file of the set.
func (s Set) File(ext string) string { return filepath.Join(s.Dir, s.Role+ext) }

// Sign reads the manifest's bytes and signs them.
func (s Set) Sign(key ed25519.PrivateKey) (text []byte, signature string, err error) {
	text, err = os.ReadFile(s.File(ExtManifest))
	if err != nil {
		return nil, "", err
	}
	return text, protocol.Sign(key, text), nil
}

// Make makes the files of ROLE.raw in the folder, whose manifest must be beside it,
// or takes them from the cache. progress is told how much of the image has been
// read.
func Make(ctx context.Context, c cache.Cache, dir, role string, progress func(done, total int64)) (Set, error) {
	s := Set{Role: role}
	m, err := manifest.Read(manifest.File(dir, role))
	if err != nil {
		return s, fmt.Errorf("image of role %s: %w: imgbuild role %[1]s --out %[3]s makes it", role, err, dir)
	}
	image, err := rawImage(dir, m)
	if err != nil {
		return s, err
	}
	s.Dir, _, err = c.Dir(ctx, "netboot", cache.Key(version, image.SHA256), func(ctx context.Context, to string) error {
		return makeFiles(ctx, filepath.Join(dir, image.Name), m, to, progress)
	})
	if err != nil {
		return s, fmt.Errorf("image of role %s: %w", role, err)
	}
	return s, s.read()
}

// rawImage is the raw one of the manifest's files.
func rawImage(dir string, m manifest.Manifest) (manifest.ImageFile, error) {
	for _, f := range m.Files {
		if f.Format != "raw" {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, f.Name))
		if err == nil && info.Size() != f.Size {
			err = fmt.Errorf("%s has %d bytes, its manifest says %d: build it again", f.Name, info.Size(), f.Size)
		}
		return f, err
	}
	return manifest.ImageFile{}, fmt.Errorf("%s.raw is not among the files of its manifest: imgbuild role %[1]s --format raw --out %s makes it", m.Role, dir)
}

// read fills in what is in the files.
func (s *Set) read() error {
	text, err := os.ReadFile(s.File(ExtManifest))
	if err == nil {
		err = json.Unmarshal(text, &s.Manifest)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: delete %s", s.File(ExtManifest), err, s.Dir)
	}
	line, err := os.ReadFile(s.File(extCmdline))
	if err != nil {
		return err
	}
	s.Cmdline = strings.Fields(strings.TrimRight(string(line), "\x00"))
	return nil
}

// makeFiles makes all files of one image.
func makeFiles(ctx context.Context, image string, m manifest.Manifest, to string, progress func(done, total int64)) error {
	file := func(ext string) string { return filepath.Join(to, m.Role+ext) }
	if err := kernelFiles(image, m, file); err != nil {
		return err
	}
	packed, err := compress(ctx, image, file(ExtImage), progress)
	if err != nil {
		return err
	}
	out := protocol.Manifest{
		Version: protocol.ManifestVersion, Role: m.Role, Plan: m.Plan,
		SHA256: packed.sum, Size: packed.size, RawSize: packed.raw,
	}
	for i, p := range m.Partitions {
		if p.Name == disk.StateLabel {
			out.State = protocol.Partition{Number: i + 1, Start: p.Start, Size: p.Size}
		}
	}
	if out.State.Number == 0 {
		return fmt.Errorf("%s: its manifest has no partition %s: build it again", image, disk.StateLabel)
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file(ExtManifest), append(text, '\n'), 0o644)
}
