package firstboot

import (
	"bytes"
	"context"
	"os"
	"path"
	"slices"
	"strconv"
)

// addonsDir holds what the image gives every cluster, one file per add-on.
const addonsDir = "/usr/share/imgbuild/addons"

// addonPhase applies the objects of folders of files.
func (m *machine) addonPhase(name string, dirs ...string) Phase {
	return Phase{
		Name: name,
		Done: func(ctx context.Context) (bool, error) { return m.addonsDone(ctx, dirs) },
		Run:  func(ctx context.Context) error { return m.applyAddons(ctx, dirs) },
	}
}

// addons are the objects of all files, in the order of the folders.
func (m *machine) addons(dirs []string) ([]object, error) {
	var all []object
	for _, dir := range dirs {
		objects, err := m.addonsOf(dir)
		if err != nil {
			return nil, err
		}
		all = append(all, objects...)
	}
	return all, nil
}

// addonsOf are those of a folder, in the order of its files. They are read once:
// Rook's are two megabytes, which take a slow machine a while.
func (m *machine) addonsOf(dir string) ([]object, error) {
	if objects, ok := m.parsed[dir]; ok {
		return objects, nil
	}
	entries, err := os.ReadDir(m.host.path(dir))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var all []object
	for _, entry := range entries {
		name := entry.Name()
		if path.Ext(name) != ".yaml" || name == "flannel.yaml" && m.node.Kubernetes.CNI != "flannel" {
			continue
		}
		data, err := m.host.read(path.Join(dir, name))
		if err != nil {
			return nil, err
		}
		objects, err := parseObjects(path.Join(dir, name), m.fill(data))
		if err != nil {
			return nil, Stop{err.Error() + ": build the image again"}
		}
		all = append(all, objects...)
	}
	if m.parsed == nil {
		m.parsed = map[string][]object{}
	}
	m.parsed[dir] = all
	return all, nil
}

// fill replaces the marks of an add-on with what only the cluster knows.
func (m *machine) fill(data []byte) []byte {
	for mark, value := range map[string]string{
		"@POD_SUBNET@": m.node.Kubernetes.PodSubnet,
		"@API_HOST@":   m.node.Endpoint.Host,
		"@API_PORT@":   strconv.Itoa(m.node.Endpoint.Port),
	} {
		data = bytes.ReplaceAll(data, []byte(mark), []byte(value))
	}
	return data
}

func (m *machine) addonsDone(ctx context.Context, dirs []string) (bool, error) {
	objects, err := m.addons(dirs)
	if err != nil {
		return false, err
	}
	client, err := m.client()
	if err != nil {
		return false, err
	}
	var failed error
	missing := slices.ContainsFunc(objects, func(o object) bool {
		ok, err := applied(ctx, client, o)
		failed = err
		return !ok
	})
	return !missing, failed
}

func (m *machine) applyAddons(ctx context.Context, dirs []string) error {
	objects, err := m.addons(dirs)
	if err != nil {
		return err
	}
	client, err := m.client()
	if err != nil {
		return err
	}
	for _, o := range objects {
		// An attempt that failed has come this far.
		if ok, err := applied(ctx, client, o); ok && err == nil {
			continue
		}
		if err := applyObject(ctx, client, o); err != nil {
			return err
		}
	}
	return nil
}
