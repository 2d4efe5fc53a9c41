// Package builder turns a Plan into an image.
//
// A Plan is the complete, resolved, pure-data description of one image: the
// same plan gives the same bytes. Build executes it step by step, a package
// per step under this folder; it decides nothing that the plan does not say.
// The builder knows nothing of roles, nodes or clusters: package roles makes
// plans out of those.
package builder

import (
	"imgbuild/builder/boot"
	"imgbuild/builder/cache"
	"imgbuild/builder/components"
	"imgbuild/builder/disk"
	"imgbuild/builder/images"
	"imgbuild/builder/packages"
	"imgbuild/builder/rootfs"
)

// PlanVersion changes whenever the same plan would give other bytes.
const PlanVersion = 4

// Plan describes one image completely.
type Plan struct {
	Version int    `json:"version"`
	Role    string `json:"role"`
	// Epoch is the one time of the image, seconds since 1970.
	Epoch int64 `json:"epoch"`
	// Arch is Go's name of the machines' architecture.
	Arch string `json:"arch"`
	// Base is where Packages come from, Tools where the tools tree and the
	// compiler's do.
	Base  packages.Source `json:"base"`
	Tools packages.Source `json:"tools"`
	// Packages by tree: see Packages.
	Packages Packages `json:"packages"`
	// Components that the image or its container images need.
	Components []components.Component `json:"components"`
	// Images are baked into the image's container store.
	Images []images.Image `json:"images"`
	// Seeded are in the storage of the registry that the machine runs.
	Seeded []images.Seeded `json:"seeded,omitempty"`
	// Files are laid over the packages, sorted by path.
	Files []rootfs.File `json:"files"`
	// Enable are systemd units enabled at build time; Mask are masked.
	Enable []string `json:"enable"`
	Mask   []string `json:"mask"`
	// Initramfs is what dracut is told; BootFiles are laid over the tree that it
	// reads: its module folders.
	Initramfs boot.Initramfs `json:"initramfs"`
	BootFiles []rootfs.File  `json:"bootFiles"`
	// Cmdline is the kernel's, without the root hash.
	Cmdline []string    `json:"cmdline"`
	Disk    disk.Layout `json:"disk"`
}

// Packages are the pinned packages of each tree.
type Packages struct {
	// Base is the layer that every role shares, kernel included.
	Base []packages.Package `json:"base"`
	// Role are the role's own, on top of Base.
	Role []packages.Package `json:"role"`
	// Boot are what dracut needs on top of Base; never in the image.
	Boot []packages.Package `json:"boot"`
	// Tools is the tree that image tools run from.
	Tools []packages.Package `json:"tools"`
	// Compiler is the tree that components with C in them are compiled in. It is
	// made where the cache lacks one of those.
	Compiler []packages.Package `json:"compiler"`
}

// Hash is the hex SHA-256 of everything the plan says.
func (p Plan) Hash() string { return cache.Key(p) }

// Inputs maps each component's name to a hash of all it is made from: for
// components that hold C, the compiler's packages are part of that.
func Inputs(list []components.Component, compiler []packages.Package) (map[string]string, error) {
	inputs := map[string]string{}
	for _, c := range list {
		inputs[c.Name] = c.Inputs
		if c.Source == SourceSelf {
			continue
		}
		spec, err := components.Find(c.Name)
		if err != nil {
			return nil, err
		}
		if spec.NeedsCompiler() {
			inputs[c.Name] = cache.Key(c.Inputs, digests(compiler))
		}
	}
	return inputs, nil
}

// SourceSelf is the Source of a program that is part of imgbuild itself. Its
// Inputs are the hex SHA-256 of its file.
const SourceSelf = "self"

func digests(pkgs []packages.Package) []string {
	list := make([]string, len(pkgs))
	for i, p := range pkgs {
		list[i] = p.SHA256
	}
	return list
}
