package firstboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"imgbuild/cluster/node"
)

// Where Harbor's configuration is. It is in memory and holds secrets: only root
// may enter the folder. Its containers are given single files and folders below
// it, which their users may read.
const (
	harborDir     = "/run/imgbuild/harbor"
	harborPods    = harborDir + "/pods"
	harborKubelet = harborDir + "/kubelet.yaml"
	harborPasswd  = harborDir + "/registry/passwd"
	// harborTmpfiles makes the folders that Harbor keeps its data in.
	harborTmpfiles = "/usr/lib/tmpfiles.d/imgbuild-harbor.conf"
)

// serves says what the image of a node of role harbor can serve with.
func serves(image node.Image) string {
	if slices.ContainsFunc(image.Images, func(ref string) bool { return strings.Contains(ref, "/goharbor/harbor-core:") }) {
		return "harbor"
	}
	return "distribution"
}

// harborPhases make a node run Harbor: as a static pod of a kubelet that belongs
// to no cluster, see harborPod.
func (m *machine) harborPhases() []Phase {
	return append(m.dataDiskPhase(harborData), Phase{Name: "registry", Done: m.harborDone, Run: m.startHarbor})
}

func (m *machine) harborDone(ctx context.Context) (bool, error) {
	files, err := m.harborFiles()
	if err != nil {
		return false, err
	}
	for name, content := range files {
		if !m.holds(name, content) {
			return false, nil
		}
	}
	return m.holdsPasswd() && m.active(ctx, "kubelet.service") && m.askRegistry(ctx) == nil, nil
}

// startHarbor writes what has changed. The kubelet sees a changed pod by itself.
func (m *machine) startHarbor(ctx context.Context) error {
	files, err := m.harborFiles()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.host.path(harborDir), 0o700); err != nil {
		return fmt.Errorf("%s: %w", harborDir, reason(err))
	}
	if err := m.writePasswd(); err != nil {
		return err
	}
	for _, name := range harborOrder(files) {
		if m.holds(name, files[name]) {
			continue
		}
		if err := m.host.write(name, files[name], harborMode(name)); err != nil {
			return err
		}
	}
	if err := m.host.call(ctx, "systemd-tmpfiles", "--create", harborTmpfiles); err != nil {
		return err
	}
	if err := m.host.call(ctx, "systemctl", "start", "kubelet.service"); err != nil {
		return err
	}
	return m.host.wait(ctx, apiLimit, m.askHarbor)
}

// askHarbor is askRegistry, and says which service elsewhere is missing.
func (m *machine) askHarbor(ctx context.Context) error {
	err := m.askRegistry(ctx)
	if err == nil {
		return nil
	}
	if missing := m.reach(ctx); missing != nil {
		return fmt.Errorf("%w; %w", err, missing)
	}
	return err
}

// harborOrder has the pod last, whose containers are given the others.
func harborOrder(files map[string][]byte) []string {
	return slices.SortedFunc(maps.Keys(files), func(a, b string) int {
		switch pod := path.Dir(a) == harborPods; {
		case pod != (path.Dir(b) == harborPods) && pod:
			return 1
		case pod != (path.Dir(b) == harborPods):
			return -1
		}
		return strings.Compare(a, b)
	})
}

// harborMode lets the users of Harbor's containers read what these are given.
func harborMode(name string) os.FileMode {
	if path.Dir(name) == harborPods || name == harborKubelet {
		return 0o600
	}
	return 0o644
}

// holdsPasswd says whether the registry's own password file fits: each writing of
// it has another salt.
func (m *machine) holdsPasswd() bool {
	secrets, err := m.harborSecrets()
	if err != nil {
		return false
	}
	data, err := m.host.read(harborPasswd)
	if err != nil {
		return false
	}
	user, hash, _ := strings.Cut(string(bytes.TrimSpace(data)), ":")
	return user == harborRegistryUser && bcrypt.CompareHashAndPassword([]byte(hash), []byte(secrets.make("registry-password", 32))) == nil
}

func (m *machine) writePasswd() error {
	if m.holdsPasswd() {
		return nil
	}
	secrets, err := m.harborSecrets()
	if err != nil {
		return err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(secrets.make("registry-password", 32)), bcrypt.DefaultCost)
	if err != nil {
		return errors.New("the registry's password cannot be hashed")
	}
	return m.host.write(harborPasswd, fmt.Appendf(nil, "%s:%s\n", harborRegistryUser, hash), harborMode(harborPasswd))
}
