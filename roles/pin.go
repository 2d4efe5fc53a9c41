package roles

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"imgbuild/builder/cache"
	"imgbuild/builder/components"
	"imgbuild/builder/host"
	"imgbuild/builder/images"
	"imgbuild/builder/packages"
	"imgbuild/cluster"
)

// Pin resolves what the images of roles are made from into a Lock: packages at
// the versions that the mirrors have now, components at those of this imgbuild
// with the Go release of this host. It asks mirrors and downloads no package.
func (s Source) Pin(ctx context.Context, c cache.Cache, cl *cluster.Cluster, names []string, now time.Time, log *slog.Logger) (Lock, error) {
	if err := host.CheckLock(); err != nil {
		return Lock{}, err
	}
	if _, err := c.Sweep(); err != nil {
		return Lock{}, err
	}
	l := Lock{
		Version: LockVersion, Epoch: now.UTC().Truncate(24 * time.Hour).Unix(), Trees: map[string]Tree{},
	}
	if err := pinComponents(ctx, &l); err != nil {
		return Lock{}, err
	}
	if err := s.pinImages(ctx, &l, cl, names, log); err != nil {
		return Lock{}, err
	}
	wanted, err := s.wanted(cl, names)
	if err != nil {
		return Lock{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		w := wanted[name]
		log.Info("resolve packages", "base", name, "trees", len(w.trees))
		pinned, err := packages.Resolve(ctx, c, w.source, w.trees)
		if err != nil {
			return Lock{}, fmt.Errorf("base %s: %w", name, err)
		}
		for _, t := range w.trees {
			l.Trees[t.Name] = Tree{Source: w.source, Want: sorted(t.Want), Packages: pinned[t.Name]}
		}
	}
	return l, nil
}

func pinComponents(ctx context.Context, l *Lock) error {
	version, err := components.GoVersion(ctx)
	if err != nil {
		return err
	}
	specs, err := components.All()
	if err != nil {
		return err
	}
	for _, spec := range specs {
		c, err := components.Resolve(spec.Name, version)
		if err != nil {
			return err
		}
		l.Components = append(l.Components, c)
	}
	return nil
}

// pinImages pins what roles bake and nobody composes here.
func (s Source) pinImages(ctx context.Context, l *Lock, cl *cluster.Cluster, names []string, log *slog.Logger) error {
	for _, name := range names {
		r, err := s.load(name, cl)
		if err != nil {
			return err
		}
		refs := slices.Clone(r.Images)
		if seeds(cl, name) {
			more, err := s.seededRefs(cl)
			if err != nil {
				return err
			}
			refs = append(refs, more...)
		}
		for _, ref := range sorted(refs) {
			if _, err := l.image(ref); err == nil || images.Composed(ref) {
				continue
			}
			log.Info("ask for an image", "image", ref)
			img, err := images.Pin(ctx, ref, "amd64")
			if hint := r.without[ref]; err != nil && hint != "" && ctx.Err() == nil {
				return fmt.Errorf("role %s: %w: lock where it can be reached, or %s", name, err, hint)
			}
			if err != nil {
				return fmt.Errorf("role %s: %w", name, err)
			}
			l.Images = append(l.Images, img)
		}
	}
	slices.SortFunc(l.Images, func(a, b images.Image) int { return strings.Compare(a.Ref, b.Ref) })
	return nil
}

// wantedTrees are the trees of one base, in an order that Resolve can follow.
type wantedTrees struct {
	source packages.Source
	trees  []packages.Tree
}

// wanted says which trees the roles need, by base.
func (s Source) wanted(cl *cluster.Cluster, names []string) (map[string]wantedTrees, error) {
	all := map[string]wantedTrees{}
	tools, err := s.base(toolsBase)
	if err != nil {
		return nil, err
	}
	all[tools.Name] = wantedTrees{tools.source(cl.Mirrors[tools.Name]), []packages.Tree{
		{Name: treeTools, Want: tools.Packages.Tools, Provided: tools.Provided},
		{Name: treeCompiler, Want: tools.Packages.Compiler, Provided: tools.Provided},
	}}
	based := map[string]bool{}
	for _, name := range names {
		r, err := s.load(name, cl)
		if err != nil {
			return nil, err
		}
		b, err := s.base(cl.BaseOf(cluster.Role(name)))
		if err != nil {
			return nil, fmt.Errorf("role %s: %w", name, err)
		}
		w := all[b.Name]
		w.source = b.source(cl.Mirrors[b.Name])
		base := treeName(b.Name, "base")
		if !based[b.Name] {
			based[b.Name] = true
			w.trees = append(w.trees,
				packages.Tree{Name: base, Want: b.Packages.Base, Provided: b.Provided},
				packages.Tree{Name: treeName(b.Name, "boot"), Want: b.Packages.Boot, On: base, Provided: b.Provided})
		}
		w.trees = append(w.trees, packages.Tree{
			Name: treeName(b.Name, name), Want: rolePackages(cl, r, b), On: base, Provided: b.Provided,
		})
		all[b.Name] = w
	}
	return all, nil
}
