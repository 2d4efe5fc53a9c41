package storage

import (
	"fmt"
	"strconv"

	"sigs.k8s.io/yaml"

	"imgbuild/cluster"
	"imgbuild/cluster/node"
)

// object is a piece of YAML.
type object = map[string]any

// Namespace is where Rook's release has its operator.
const Namespace = "rook-ceph"

// CephImage is what Rook v1.18.8 itself says to run: deploy/examples/cluster.yaml
// of that release.
const CephImage = "quay.io/ceph/ceph:v19.2.3"

// dataDir is on the node's state partition.
const dataDir = "/var/lib/rook"

// Taint is that of every node of role rook: only Ceph's own pods tolerate it.
func Taint() node.Taint {
	return node.Taint{Key: cluster.StorageLabelValue, Value: "true", Effect: "NoSchedule"}
}

// Manifest is the CephCluster as YAML. Fields: ceph.rook.io/v1 of Rook v1.18,
// https://rook.io/docs/rook/v1.18/CRDs/Cluster/ceph-cluster-crd/
func Manifest(c *cluster.Cluster) ([]byte, error) {
	nodes := c.NodesOf(cluster.RoleRook)
	if len(nodes) == 0 {
		return nil, fmt.Errorf("make a CephCluster: cluster %s has no node of role rook", c.Name)
	}
	text, err := yaml.Marshal(object{
		"apiVersion": "ceph.rook.io/v1",
		"kind":       "CephCluster",
		"metadata":   object{"name": Namespace, "namespace": Namespace},
		"spec": object{
			"cephVersion":     object{"image": CephImage},
			"dataDirHostPath": dataDir,
			"mon":             object{"count": monitors(len(nodes)), "allowMultiplePerNode": false},
			"mgr":             object{"count": min(2, len(nodes)), "allowMultiplePerNode": false},
			"dashboard":       object{"enabled": true, "ssl": true},
			// Ceph on the addresses of the nodes themselves: its traffic takes neither
			// the pods' tunnels nor another interface than the one that was meant.
			"network": object{
				"provider":      "host",
				"addressRanges": object{"public": []string{c.Network.Subnet}, "cluster": []string{c.Network.Subnet}},
			},
			"placement": object{"all": placement()},
			"storage":   disks(c, nodes),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make a CephCluster: %w", err)
	}
	return text, nil
}

// monitors is the largest odd number that every node can have one of, 3 at
// most: https://docs.ceph.com/en/squid/rados/operations/add-or-rm-mons/
func monitors(nodes int) int {
	if nodes < 3 {
		return 1
	}
	return 3
}

// placement keeps Ceph's daemons on the storage nodes, and lets them in there.
func placement() object {
	return object{
		"nodeAffinity": object{"requiredDuringSchedulingIgnoredDuringExecution": object{
			"nodeSelectorTerms": []object{{"matchExpressions": []object{{
				"key": cluster.StorageLabel, "operator": "In", "values": []string{cluster.StorageLabelValue},
			}}}},
		}},
		"tolerations": []object{{"key": Taint().Key, "operator": "Exists"}},
	}
}

// disks are those of cluster.yaml and no others.
func disks(c *cluster.Cluster, nodes []cluster.Node) object {
	var list []object
	for _, n := range nodes {
		var devices []object
		for _, osd := range c.OSDs(n) {
			device := object{"name": osd.Data.Path}
			config := object{"deviceClass": string(osd.Data.Kind)}
			if osd.Metadata != "" {
				config["metadataDevice"] = osd.Metadata
				config["databaseSizeMB"] = strconv.FormatInt(osd.DatabaseMB, 10)
			}
			device["config"] = config
			devices = append(devices, device)
		}
		list = append(list, object{"name": n.Name, "devices": devices})
	}
	return object{"useAllNodes": false, "useAllDevices": false, "nodes": list}
}
