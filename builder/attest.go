package builder

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"imgbuild/builder/boot"
	"imgbuild/builder/manifest"
	"imgbuild/builder/packages"
	"imgbuild/builder/rootfs"
)

// attest converts, measures and names the image's files, and writes what is in
// them. Until the manifest is there, no build of this plan counts as done.
func (r *run) attest(ctx context.Context) (manifest.Manifest, error) {
	m := r.manifest()
	made := map[string]string{}
	defer func() {
		for _, tmp := range made {
			os.Remove(tmp)
		}
	}()
	for _, format := range Formats() {
		if !slices.Contains(r.formats, format) {
			continue
		}
		tmp, sum := r.raw(), r.rawSum
		if format == FormatQcow2 {
			tmp = filepath.Join(r.out, "."+r.plan.Role+".qcow2.part")
			made[format] = tmp
			if err := r.diskTools().Qcow2(ctx, r.raw(), tmp); err != nil {
				return m, err
			}
			var err error
			if sum, err = sumFile(ctx, tmp); err != nil {
				return m, err
			}
		}
		made[format] = tmp
		info, err := os.Stat(tmp)
		if err != nil {
			return m, err
		}
		m.Files = append(m.Files, manifest.ImageFile{
			Name: imageName(r.plan.Role, format), Format: format, Size: info.Size(), SHA256: sum,
		})
		if err := rootfs.SetTime(tmp, r.plan.Epoch); err != nil {
			return m, err
		}
	}
	return m, r.publish(m, made)
}

// publish gives every file its name. The old manifest goes first: it would
// speak of an image that is no longer there.
func (r *run) publish(m manifest.Manifest, made map[string]string) error {
	file := manifest.File(r.out, r.plan.Role)
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, format := range Formats() {
		name := filepath.Join(r.out, imageName(r.plan.Role, format))
		tmp, ok := made[format]
		if !ok {
			// Of an earlier plan, in a format that is not wanted now.
			if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			continue
		}
		if err := os.Rename(tmp, name); err != nil {
			return err
		}
		delete(made, format)
	}
	if err := m.WriteSBOM(manifest.SBOMFile(r.out, r.plan.Role)); err != nil {
		return err
	}
	return m.Write(file)
}

func (r *run) manifest() manifest.Manifest {
	m := manifest.Manifest{
		Version: manifest.Version, Role: r.plan.Role, Plan: r.hash, Epoch: r.plan.Epoch, Arch: r.plan.Arch,
		Base: r.plan.Base.Name, RootHash: r.root.hash, DiskUUID: r.uuid("disk"), Partitions: r.table,
		Packages:     slices.Concat(r.plan.Packages.Base, r.plan.Packages.Role),
		BootPackages: slices.Concat(r.plan.Packages.Boot, loaderPackages(r.plan.Packages.Tools)),
		Components:   r.plan.Components,
	}
	if sum, err := SumFile(r.root.uki); err == nil {
		m.UKI = manifest.UKI{Path: slotUKI, SHA256: sum}
	}
	for _, img := range r.plan.Images {
		m.Images = append(m.Images, manifest.Image{Ref: img.Ref, Digest: r.baked.Digests[img.Ref]})
	}
	for _, img := range r.plan.Seeded {
		m.Seeded = append(m.Seeded, manifest.Image{Ref: img.Ref, Digest: r.seeded.Digests[img.Ref]})
	}
	return m
}

// loaderPackages are those of the tools tree that the ESP has files of.
func loaderPackages(tools []packages.Package) []packages.Package {
	return slices.DeleteFunc(slices.Clone(tools), func(p packages.Package) bool { return p.Name != boot.LoaderPackage })
}
