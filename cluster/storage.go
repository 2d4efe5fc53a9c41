package cluster

import "slices"

// What tells nodes of role rook from others: their label, and their taint of
// that key, which Ceph's pods tolerate and no other's.
const (
	StorageLabel      = "role"
	StorageLabelValue = "storage-node"
)

// The rules of the user's architecture document for nodes of role rook.
const (
	// leastRawDisks and leastLinks are "300Gx2" and "10Gx2".
	leastRawDisks = 2
	leastLinks    = 2
	// leastLink is in Gbit/s.
	leastLink = 10
	// mostPerSSD is "SSD:HD<=1:6".
	mostPerSSD = 6
)

// RawDisk is the smallest raw disk that a size allows for a node of role rook.
func RawDisk(size Size) Bytes {
	if size == SizeProduction {
		return 300 * gigabyte
	}
	return 10 * gigabyte
}

// OSD is one of Ceph's daemons: the disk that its data is on and, where that is
// an HDD of a node with SSDs, the one that its database is on.
type OSD struct {
	Data Disk
	// Metadata is a path, empty where everything is on Data.
	Metadata string
	// DatabaseMB is the size of the database in MiB, which Rook calls MB; 0 without
	// Metadata.
	DatabaseMB int64
}

// OSDs are what a node of role rook runs. Where it has SSDs and HDDs, the HDDs
// take turns on the SSDs, and the SSDs hold nothing else.
func (c *Cluster) OSDs(n Node) []OSD {
	var ssds []Disk
	for _, d := range n.Disks {
		if d.Kind == SSD {
			ssds = append(ssds, d)
		}
	}
	var osds []OSD
	mixed := len(ssds) > 0 && slices.ContainsFunc(n.Disks, func(d Disk) bool { return d.Kind == HDD })
	for _, d := range n.Disks {
		switch {
		case !mixed:
			osds = append(osds, OSD{Data: d})
		case d.Kind == HDD:
			osds = append(osds, OSD{
				Data: d, Metadata: ssds[len(osds)%len(ssds)].Path,
				DatabaseMB: int64(d.Size) / 100 * int64(c.Rook.DatabasePercent) / int64(MiB),
			})
		}
	}
	return osds
}
