package main

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"imgbuild/cluster"
	"imgbuild/lab"
)

// labDiskPath is how a machine of the lab names its raw disks: udev's name of a
// virtio disk with a serial number.
const labDiskPath = "/dev/disk/by-id/virtio-"

// labSerial is what virtio takes as one: 20 bytes at most.
var labSerial = regexp.MustCompile("^" + labDiskPath + "[A-Za-z0-9-]{1,20}$")

// labDisks is the cluster with its raw disks under the names that they have in
// the lab, whatever the real ones are called there. The nodes are some of it.
func labDisks(c *cluster.Cluster, nodes []cluster.Node) (*cluster.Cluster, []cluster.Node) {
	renamed := *c
	renamed.Nodes = withLabDisks(c.Nodes)
	return &renamed, withLabDisks(nodes)
}

func withLabDisks(nodes []cluster.Node) []cluster.Node {
	nodes = slices.Clone(nodes)
	for i, n := range nodes {
		// A machine of the lab has one disk for its system.
		nodes[i].InstallDisk = cluster.InstallDisk{}
		if n.DataDisk.Path != "" {
			nodes[i].DataDisk.Path = labPath(n, n.DataDisk.Path)
		}
		nodes[i].Disks = slices.Clone(n.Disks)
		for j, d := range n.Disks {
			nodes[i].Disks[j].Path = labPath(n, d.Path)
		}
	}
	return nodes
}

func labPath(n cluster.Node, path string) string {
	if labSerial.MatchString(path) {
		return path
	}
	sum := sha256.Sum256([]byte(n.Name + path))
	return labDiskPath + hex.EncodeToString(sum[:10])
}

// labRawDisks are the disks of a node beside its system disk.
func labRawDisks(n cluster.Node) []lab.RawDisk {
	var list []lab.RawDisk
	add := func(path string, size cluster.Bytes) {
		list = append(list, lab.RawDisk{Serial: strings.TrimPrefix(path, labDiskPath), Bytes: int64(size)})
	}
	if n.DataDisk.Path != "" {
		add(n.DataDisk.Path, n.DataDisk.Size)
	}
	for _, d := range n.Disks {
		add(d.Path, d.Size)
	}
	return list
}
