package firstboot

import (
	"bytes"
	"context"
	"os"
	"path"
	"slices"
	"strconv"

	"imgbuild/cluster/node"
)

// addonsDir holds what the image gives every cluster, one file per add-on.
const addonsDir = "/usr/share/imgbuild/addons"

// addons are the objects of all add-ons: the image's, then this cluster's.
func (m *machine) addons() ([]object, error) {
	all, err := m.addonsOf(addonsDir)
	if err != nil {
		return nil, err
	}
	own, err := m.addonsOf(node.AddonsDir)
	return append(all, own...), err
}

// addonsOf are those of a folder, in the order of its files.
func (m *machine) addonsOf(dir string) ([]object, error) {
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

func (m *machine) addonsDone(ctx context.Context) (bool, error) {
	objects, err := m.addons()
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

func (m *machine) applyAddons(ctx context.Context) error {
	objects, err := m.addons()
	if err != nil {
		return err
	}
	client, err := m.client()
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := applyObject(ctx, client, o); err != nil {
			return err
		}
	}
	return nil
}
