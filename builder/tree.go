package builder

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"imgbuild/builder/boot"
	"imgbuild/builder/images"
	"imgbuild/builder/rootfs"
	"imgbuild/cluster/node"
)

// The steps that make the trees: layers of packages and files.

// makeLayers makes the tools tree and beside it the image's: dpkg uses one
// processor only.
func (r *run) makeLayers(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.makeTools(ctx) })
	g.Go(func() error {
		if err := r.makeBase(ctx); err != nil {
			return err
		}
		return r.makeRole(ctx)
	})
	return g.Wait()
}

func (r *run) makeTools(ctx context.Context) error {
	l, err := r.maker().Base(ctx, r.plan.Packages.Tools)
	r.tools = []rootfs.Layer{l}
	return err
}

func (r *run) makeBase(ctx context.Context) error {
	l, err := r.maker().Base(ctx, r.plan.Packages.Base)
	r.layers = []rootfs.Layer{l}
	return err
}

// makeRole adds the role's packages, and beside them those of the boot tree:
// both stand on the base.
func (r *run) makeRole(ctx context.Context) error {
	base := r.layers
	var role, boot rootfs.Layer
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		boot, err = r.maker().Add(ctx, base, r.plan.Packages.Boot)
		return err
	})
	g.Go(func() (err error) {
		if len(r.plan.Packages.Role) > 0 {
			role, err = r.maker().Add(ctx, base, r.plan.Packages.Role)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	r.boot = []rootfs.Layer{base[0], boot}
	if role.Key != "" {
		r.layers = append(r.layers, role)
	}
	return nil
}

func (r *run) makeComponents(ctx context.Context) error {
	var err error
	if r.inputs, err = Inputs(r.plan.Components, r.plan.Packages.Compiler); err != nil {
		return err
	}
	for _, c := range r.plan.Components {
		if _, err := r.component(ctx, c.Name); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) makeImages(ctx context.Context) error {
	var err error
	if len(r.plan.Images) > 0 {
		if r.baked, err = r.composer().Bake(ctx, r.plan.Images, r.inputs["containerd"]); err != nil {
			return err
		}
	}
	if len(r.plan.Seeded) > 0 {
		r.seeded, err = r.composer().Seed(ctx, r.plan.Seeded)
	}
	return err
}

// composer composes container images from what the steps before have made.
func (r *run) composer() images.Builder {
	return images.Builder{
		Cache: r.Cache, Tree: []string{r.layers[0].Dir}, Epoch: r.plan.Epoch, Arch: r.plan.Arch, Offline: r.Offline, Log: r.Output,
		Components: func(ctx context.Context, name string) (string, error) {
			dir, err := r.component(ctx, name)
			return filepath.Join(dir, "bin"), err
		},
	}
}

// Layouts writes each container image of the plan as an OCI layout: DIR/N in
// the plan's order. A build bakes them instead.
func (b Builder) Layouts(ctx context.Context, p Plan, dir string) error {
	r := &run{Builder: b, plan: p, hash: p.Hash()}
	for _, f := range []func(context.Context) error{r.fetch, r.makeLayers, r.makeComponents} {
		if err := f(ctx); err != nil {
			return err
		}
	}
	for i, img := range p.Images {
		to := filepath.Join(dir, strconv.Itoa(i))
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if _, err := r.composer().Build(ctx, img, to); err != nil {
			return err
		}
	}
	return nil
}

// makeFiles adds the files of the plan, and what the image says of itself. Those
// of components have a layer of their own below the others: they are large, and
// what is changed most often is a file of the role.
func (r *run) makeFiles(ctx context.Context) error {
	self, err := r.describe()
	if err != nil {
		return err
	}
	large := rootfs.Content{Inputs: map[string]string{}}
	small := rootfs.Content{Enable: r.plan.Enable, Mask: r.plan.Mask}
	for _, f := range r.plan.Files {
		if f.From == "" {
			small.Files = append(small.Files, f)
			continue
		}
		name, _, _ := strings.Cut(f.From, "/")
		large.Files, large.Inputs[name] = append(large.Files, f), r.inputs[name]
	}
	small.Files = append(small.Files, rootfs.File{Path: node.ImagePath, Data: self})
	for _, content := range []rootfs.Content{large, small} {
		l, err := r.maker().Files(ctx, r.layers, content, r.componentFor(ctx))
		if err != nil {
			return err
		}
		r.layers = append(r.layers, l)
	}
	return r.makeBootFiles(ctx)
}

func (r *run) componentFor(ctx context.Context) func(string) (string, error) {
	return func(name string) (string, error) { return r.component(ctx, name) }
}

func (r *run) describe() ([]byte, error) {
	img := node.Image{Role: r.plan.Role, Plan: r.hash, Base: r.plan.Base.Name, Components: map[string]string{}}
	for _, c := range r.plan.Components {
		img.Components[c.Name] = c.Version
	}
	for _, i := range r.plan.Images {
		img.Images = append(img.Images, i.Ref)
	}
	data, err := json.MarshalIndent(img, "", "  ")
	return append(data, '\n'), err
}

// makeBootFiles lays the dracut modules over the boot tree.
func (r *run) makeBootFiles(ctx context.Context) error {
	inputs := map[string]string{}
	for _, f := range r.plan.BootFiles {
		if name, _, ok := strings.Cut(f.From, "/"); ok {
			inputs[name] = r.inputs[name]
		}
	}
	l, err := r.maker().Files(ctx, r.boot, rootfs.Content{Files: r.plan.BootFiles, Inputs: inputs}, r.componentFor(ctx))
	r.boot = append(r.boot, l)
	return err
}

// makeInitramfs runs dracut in the boot tree.
func (r *run) makeInitramfs(ctx context.Context) error {
	k, err := boot.FindKernel(rootfs.Dirs(r.boot))
	if err != nil {
		return err
	}
	key := r.boot[len(r.boot)-1].Key
	r.initramfs, err = r.plan.Initramfs.Make(ctx, r.Cache, rootfs.Dirs(r.boot), key, k, r.plan.Epoch, r.Output)
	return err
}
