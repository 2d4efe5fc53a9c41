package roles

import (
	"fmt"
	"slices"
	"strings"

	"imgbuild/builder"
	"imgbuild/builder/images"
	"imgbuild/cluster"
	"imgbuild/seed"
)

// seeds says whether images of a role carry what imgbuild seed would copy.
func seeds(c *cluster.Cluster, role string) bool {
	return c.Registry.Seeded && role == string(cluster.RoleHarbor)
}

// seededRefs are what imgbuild seed would copy into the cluster's registry: what
// its roles bake, and registry.images.
func (s Source) seededRefs(c *cluster.Cluster) ([]string, error) {
	refs := slices.Clone(c.Registry.Images)
	for _, n := range c.Nodes {
		r, err := s.load(string(n.Role), c)
		if err != nil {
			return nil, err
		}
		refs = append(refs, r.Images...)
	}
	return sorted(refs), nil
}

// resolveSeeded adds what the role's image carries for others. inputs are those
// of the components that the plan has.
func (s Source) resolveSeeded(p *builder.Plan, c *cluster.Cluster, l Lock, refs []string, inputs map[string]string) error {
	target := seed.Registry{Host: c.Registry.Host, Name: c.Registry.Host}
	for _, ref := range refs {
		img, err := resolveImage(p, l, ref, inputs)
		if err != nil {
			return err
		}
		as, err := target.Target(ref)
		if err != nil {
			return err
		}
		name := as.Context().RepositoryStr()
		if tag := as.Identifier(); !strings.HasPrefix(tag, "sha256:") {
			name += ":" + tag
		}
		p.Seeded = append(p.Seeded, images.Seeded{Image: img, As: name})
	}
	if len(p.Seeded) == 0 {
		return fmt.Errorf("registry.seeded: the cluster has no image")
	}
	return nil
}
