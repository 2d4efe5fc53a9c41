package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"imgbuild/builder"
	"imgbuild/cluster"
	"imgbuild/ignition"
)

// What the lab is given by the other verbs is here and nowhere else.

// labSystems are the images and configs that machines start with. One that starts
// from the network has neither.
func labSystems(ctx context.Context, a *app, c *cluster.Cluster, nodes []cluster.Node, f labFlags) (images map[cluster.Role]string, configs map[string][]byte, err error) {
	if f.netboot != "" {
		return nil, nil, nil
	}
	var roles []cluster.Role
	for _, n := range nodes {
		if !slices.Contains(roles, n.Role) {
			roles = append(roles, n.Role)
		}
	}
	if images, err = labImages(ctx, a, c, f, roles); err != nil {
		return nil, nil, err
	}
	c, nodes = labDisks(c, nodes)
	configs, err = labIgnition(ctx, a, c, nodes, f.configs)
	return images, configs, err
}

// labImages are the images of the roles, by role. What the folder lacks is
// built there; what is there is taken as it is, since machines may stand on it.
func labImages(ctx context.Context, a *app, c *cluster.Cluster, f labFlags, roles []cluster.Role) (map[cluster.Role]string, error) {
	images, missing := map[cluster.Role]string{}, []string{}
	for _, role := range roles {
		images[role] = filepath.Join(f.images, string(role)+".raw")
		_, err := os.Stat(images[role])
		switch {
		case errors.Is(err, os.ErrNotExist):
			missing = append(missing, string(role))
		case err != nil:
			return nil, fmt.Errorf("image of role %s: %w", role, err)
		}
	}
	return images, labBuild(ctx, a, c, missing, f)
}

// labBuild makes the images of roles, and imgbuild.lock where there is none.
func labBuild(ctx context.Context, a *app, c *cluster.Cluster, names []string, f labFlags) error {
	if len(names) == 0 {
		return nil
	}
	_, err := os.Stat(a.lockFile())
	if errors.Is(err, os.ErrNotExist) {
		err = labLock(ctx, a, c, f.rolesDir)
	}
	if err != nil {
		return err
	}
	var plans []builder.Plan
	for _, name := range names {
		p, err := a.plan(c, name, f.rolesDir)
		if err != nil {
			return fmt.Errorf("image of role %s: %w", name, err)
		}
		plans = append(plans, p)
	}
	return buildPlans(ctx, a, a.Stderr, plans, roleFlags{out: f.images, formats: []string{builder.FormatRaw}})
}

func labLock(ctx context.Context, a *app, c *cluster.Cluster, rolesDir string) error {
	s, err := roleSource(rolesDir)
	if err != nil {
		return err
	}
	names, err := a.rolesOf(c, s)
	if err != nil {
		return err
	}
	return lock(ctx, a, a.Stderr, c, s, names)
}

// labIgnition are the Ignition configs of the nodes, by name: those of a folder
// where one is given. Else it makes them, and the secrets of the cluster where
// there are none.
func labIgnition(ctx context.Context, a *app, c *cluster.Cluster, nodes []cluster.Node, dir string) (map[string][]byte, error) {
	if dir != "" {
		return readConfigs(nodes, dir)
	}
	store, err := a.secretStore(c)
	if err != nil {
		return nil, err
	}
	secrets, err := a.secrets(ctx, store, c, false)
	if err != nil {
		return nil, err
	}
	configs := map[string][]byte{}
	for _, n := range nodes {
		if configs[n.Name], err = ignition.Render(c, n, secrets); err != nil {
			return nil, err
		}
	}
	return configs, nil
}

func readConfigs(nodes []cluster.Node, dir string) (map[string][]byte, error) {
	configs := map[string][]byte{}
	for _, n := range nodes {
		config, err := os.ReadFile(filepath.Join(dir, n.Name+".ign"))
		if err != nil {
			return nil, fmt.Errorf("ignition config of %s: %w: imgbuild ignition --out %s makes it", n.Name, err, dir)
		}
		configs[n.Name] = config
	}
	return configs, nil
}

// labKubeconfig is an administrator's, with a certificate made for this call.
func labKubeconfig(ctx context.Context, a *app, c *cluster.Cluster) ([]byte, error) {
	store, err := a.secretStore(c)
	if err != nil {
		return nil, err
	}
	secrets, err := store.Open(ctx)
	if err != nil {
		return nil, err
	}
	return ignition.AdminKubeconfig(c, secrets)
}

// labKubectl is the program: named by flag or environment, or that of the
// release that the cluster runs.
func labKubectl(ctx context.Context, a *app, flag string) (string, error) {
	for _, named := range []string{flag, os.Getenv("IMGBUILD_KUBECTL")} {
		if named == "" {
			continue
		}
		path, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("kubectl: %w", err)
		}
		return filepath.Abs(path)
	}
	dir, err := a.component(ctx, "kubernetes")
	if err != nil {
		return "", fmt.Errorf("find kubectl: %w (or name a program with --kubectl)", err)
	}
	return filepath.Join(dir, "bin", "kubectl"), nil
}
