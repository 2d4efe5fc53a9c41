package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"imgbuild/cluster"
	"imgbuild/ignition"
)

// What the lab is given by the other verbs is here and nowhere else.

// labImages are the images of the roles, by role.
func labImages(_ context.Context, _ *app, dir string, roles []cluster.Role) (map[cluster.Role]string, error) {
	images := map[cluster.Role]string{}
	var missing []error
	for _, role := range roles {
		images[role] = filepath.Join(dir, string(role)+".raw")
		if _, err := os.Stat(images[role]); err != nil {
			missing = append(missing, fmt.Errorf("image of role %s: %w: make it with imgbuild role %[1]s --out %s", role, err, dir))
		}
	}
	return images, errors.Join(missing...)
}

// labIgnition are the Ignition configs of the nodes, by name. It makes the
// secrets of the cluster where there are none.
func labIgnition(ctx context.Context, a *app, c *cluster.Cluster, nodes []cluster.Node) (map[string][]byte, error) {
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

// labKubectl is the program: named by flag or environment, or the host's.
func labKubectl(_ context.Context, _ *app, _ *cluster.Cluster, flag string) (string, error) {
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
	path, err := exec.LookPath("kubectl")
	if err != nil {
		return "", errors.New("no kubectl in $PATH: name one with --kubectl or IMGBUILD_KUBECTL")
	}
	return path, nil
}
