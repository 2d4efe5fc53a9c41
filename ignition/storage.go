package ignition

import (
	"maps"
	"net"
	"strconv"

	"imgbuild/cluster"
	"imgbuild/cluster/node"
	"imgbuild/storage"
)

// labels are those of cluster.yaml, and what Ceph's pods look for.
func labels(n cluster.Node) map[string]string {
	if n.Role != cluster.RoleRook {
		return n.Labels
	}
	all := map[string]string{cluster.StorageLabel: cluster.StorageLabelValue}
	maps.Copy(all, n.Labels)
	return all
}

// taints keep pods off the nodes of role rook that are not of the storage.
func taints(n cluster.Node) []node.Taint {
	if n.Role != cluster.RoleRook {
		return nil
	}
	return []node.Taint{storage.Taint()}
}

func disks(n cluster.Node) []node.Disk {
	var list []node.Disk
	for _, d := range n.Disks {
		list = append(list, node.Disk{Path: d.Path, Size: int64(d.Size)})
	}
	return list
}

func dataDisk(n cluster.Node) *node.Disk {
	if n.DataDisk.Path == "" {
		return nil
	}
	return &node.Disk{Path: n.DataDisk.Path, Size: int64(n.DataDisk.Size)}
}

// pullsFrom is the registry that a node's work hangs on: the images of the
// cluster itself are baked, those of Ceph may not be.
func pullsFrom(c *cluster.Cluster, n cluster.Node) string {
	if n.Role != cluster.RoleRook || c.Rook.Images != cluster.RookRegistry {
		return ""
	}
	return net.JoinHostPort(registryHost(c), strconv.Itoa(RegistryPort(c)))
}

// storageFiles let the init master make the cluster's storage, where it may.
// Rook's own objects are in its image.
func storageFiles(c *cluster.Cluster, n cluster.Node) ([]butaneFile, error) {
	if !c.Rook.Apply || n.Name != c.InitMaster().Name {
		return nil, nil
	}
	text, err := storage.Manifest(c)
	if err != nil {
		return nil, err
	}
	return []butaneFile{public(node.StorageDir+"/ceph-cluster.yaml", string(text))}, nil
}
