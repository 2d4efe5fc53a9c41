package roles

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"imgbuild/builder"
	"imgbuild/builder/cache"
	"imgbuild/builder/components"
	"imgbuild/builder/images"
	"imgbuild/builder/packages"
	"imgbuild/builder/rootfs"
	"imgbuild/cluster"
	"imgbuild/ignition/dracut"
)

// The components that are programs of this imgbuild, and not of the lock: the
// agent, and the installer in the initramfs.
const (
	AgentName     = "imgbuild-firstboot"
	InstallerName = "imgbuild-install"
)

// OwnNames are all of them.
func OwnNames() []string { return []string{AgentName, InstallerName} }

// Resolve decides everything about the image of a role and does nothing: the
// same cluster, role, lock and own programs give the same Plan.
func (s Source) Resolve(c *cluster.Cluster, role string, l Lock, own []components.Component) (builder.Plan, error) {
	r, err := s.load(role, c)
	if err != nil {
		return builder.Plan{}, err
	}
	b, err := s.base(c.BaseOf(cluster.Role(role)))
	if err != nil {
		return builder.Plan{}, fmt.Errorf("role %s: %w", role, err)
	}
	p := builder.Plan{
		Version: builder.PlanVersion, Role: role, Epoch: l.Epoch, Arch: "amd64",
		Base: b.source(c.Mirrors[b.Name]), Initramfs: b.Initramfs,
		Enable: sorted(r.Enable), Mask: sorted(r.Mask), Cmdline: r.Cmdline, Disk: r.Disk,
	}
	if err := s.resolvePackages(&p, c, r, b, l); err != nil {
		return builder.Plan{}, fmt.Errorf("role %s: %w", role, err)
	}
	p.Files = r.files()
	if p.BootFiles, err = bootFiles(); err != nil {
		return builder.Plan{}, err
	}
	if err := s.resolveComponents(&p, c, r, l, own); err != nil {
		return builder.Plan{}, fmt.Errorf("role %s: %w", role, err)
	}
	return p, nil
}

func (s Source) resolvePackages(p *builder.Plan, c *cluster.Cluster, r Role, b Base, l Lock) error {
	tools, err := s.base(toolsBase)
	if err != nil {
		return err
	}
	p.Tools = tools.source(c.Mirrors[tools.Name])
	for _, t := range []struct {
		name   string
		source packages.Source
		want   []string
		into   *[]packages.Package
	}{
		{treeTools, p.Tools, tools.Packages.Tools, &p.Packages.Tools},
		{treeCompiler, p.Tools, tools.Packages.Compiler, &p.Packages.Compiler},
		{treeName(b.Name, "base"), p.Base, b.Packages.Base, &p.Packages.Base},
		{treeName(b.Name, "boot"), p.Base, b.Packages.Boot, &p.Packages.Boot},
		{treeName(b.Name, r.Name), p.Base, rolePackages(c, r, b), &p.Packages.Role},
	} {
		if *t.into, err = l.tree(t.name, t.source, t.want); err != nil {
			return err
		}
	}
	return nil
}

// rolePackages are the role's own with those that cluster.yaml adds.
func rolePackages(c *cluster.Cluster, r Role, b Base) []string {
	return slices.Concat(r.Packages[b.Family], c.Roles[cluster.Role(r.Name)].Packages)
}

// resolveComponents pins the images, and the components that they and the
// files are made from.
func (s Source) resolveComponents(p *builder.Plan, c *cluster.Cluster, r Role, l Lock, own []components.Component) error {
	var seeded []string
	if seeds(c, r.Name) {
		var err error
		if seeded, err = s.seededRefs(c); err != nil {
			return err
		}
	}
	names := slices.Concat(componentsOf(p.Files), componentsOf(p.BootFiles))
	for _, ref := range composed(slices.Concat(r.Images, seeded)) {
		of, err := images.Components(ref)
		if err != nil {
			return err
		}
		names = append(names, of...)
	}
	if len(r.Images) > 0 {
		names = append(names, "containerd") // bakes them
	}
	for _, name := range sorted(names) {
		component, err := oneOf(own, l, name)
		if err != nil {
			return err
		}
		p.Components = append(p.Components, component)
	}
	inputs, err := builder.Inputs(p.Components, p.Packages.Compiler)
	if err != nil {
		return err
	}
	for _, ref := range sorted(r.Images) {
		img, err := resolveImage(p, l, ref, inputs)
		if err != nil {
			return err
		}
		p.Images = append(p.Images, img)
	}
	if seeds(c, r.Name) {
		return s.resolveSeeded(p, c, l, seeded, inputs)
	}
	return nil
}

// oneOf is a component by its name: one of ours, or of the lock.
func oneOf(own []components.Component, l Lock, name string) (components.Component, error) {
	for _, c := range own {
		if c.Name == name {
			return c, nil
		}
	}
	return l.Component(name)
}

// resolveImage pins an image: one that is pulled is in the lock, one that is made
// from components is what those are.
func resolveImage(p *builder.Plan, l Lock, ref string, inputs map[string]string) (images.Image, error) {
	if images.Composed(ref) {
		return images.Resolve(ref, inputs, cache.Key(p.Packages.Base))
	}
	return l.image(ref)
}

// composed are the images that are made from components.
func composed(refs []string) []string {
	return slices.DeleteFunc(slices.Clone(refs), func(ref string) bool { return !images.Composed(ref) })
}

// moduleDir is where dracut looks for its modules.
const moduleDir = "/usr/lib/dracut/modules.d/"

// bootFiles are the dracut modules that find state and run Ignition: our own,
// and the stock one with its program beside it.
func bootFiles() ([]rootfs.File, error) {
	files := []rootfs.File{
		{Path: moduleDir + "30ignition", From: "ignition/dracut/30ignition"},
		{Path: moduleDir + "30ignition/ignition", From: "ignition/bin/ignition"},
		{Path: moduleDir + "90imgbuild/imgbuild-install", From: InstallerName + "/" + InstallerName, Mode: 0o755},
	}
	err := fs.WalkDir(dracut.Module, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := dracut.Module.ReadFile(p)
		if err != nil {
			return err
		}
		f := plainFile(moduleDir+p, data)
		if strings.HasSuffix(p, ".sh") {
			f.Mode = 0o755
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// IsUnknownRole reports that an error is about a role that does not exist.
func IsUnknownRole(err error) bool { return errors.Is(err, errNoRole) }
