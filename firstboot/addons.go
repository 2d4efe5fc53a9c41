package firstboot

import (
	"bytes"
	"context"
	"os"
	"path"
	"slices"
)

// addonsDir holds what the image gives every cluster, one file per add-on.
const addonsDir = "/usr/share/imgbuild/addons"

// podSubnetMark is replaced in every add-on.
const podSubnetMark = "@POD_SUBNET@"

// addons are the objects of all add-ons, in the order of the files.
func (m *machine) addons() ([]object, error) {
	entries, err := os.ReadDir(m.host.path(addonsDir))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var all []object
	for _, entry := range entries {
		name := entry.Name()
		if path.Ext(name) != ".yaml" || name == "flannel.yaml" && m.node.Kubernetes.CNI != "flannel" {
			continue
		}
		data, err := m.host.read(path.Join(addonsDir, name))
		if err != nil {
			return nil, err
		}
		data = bytes.ReplaceAll(data, []byte(podSubnetMark), []byte(m.node.Kubernetes.PodSubnet))
		objects, err := parseObjects(path.Join(addonsDir, name), data)
		if err != nil {
			return nil, Stop{err.Error() + ": build the image again"}
		}
		all = append(all, objects...)
	}
	return all, nil
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
