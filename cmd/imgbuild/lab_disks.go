package main

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"

	"imgbuild/cluster"
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
		nodes[i].Disks = slices.Clone(n.Disks)
		for j, d := range n.Disks {
			if !labSerial.MatchString(d.Path) {
				sum := sha256.Sum256([]byte(n.Name + d.Path))
				nodes[i].Disks[j].Path = labDiskPath + hex.EncodeToString(sum[:10])
			}
		}
	}
	return nodes
}
