package cluster

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

func (v *checker) rook() {
	r := v.c.Rook
	if v.count(RoleRook) == 0 {
		if r != (Rook{}) {
			v.errorf("rook", "has no effect: there is no node of role rook")
		}
		return
	}
	allowed(v, "rook.images", r.Images, RookImageSources())
	if r.Images == RookRegistry && v.c.Registry.Host == "" {
		v.errorf("rook.images", "registry needs registry.host, or nodes of role harbor")
	}
	if r.DatabasePercent < 1 || r.DatabasePercent > 10 {
		v.errorf("rook.databasePercent", "expected 1 to 10, got %d", r.DatabasePercent)
	}
	if len(v.c.Network.NTP) == 0 {
		// https://docs.ceph.com/en/squid/rados/operations/health-checks/#mon-clock-skew
		v.warnf("network", "no ntp: Ceph's monitors complain of clocks that differ by 50 ms")
	}
}

// rawDisks checks the disks that a node gives to Ceph. known are those of all
// nodes so far.
func (v *checker) rawDisks(field string, n Node, known taken) {
	if n.Role != RoleRook {
		if len(n.Disks) > 0 {
			v.errorf(field+".disks", "a node of role %s gives no disk to Ceph: expected them on nodes of role rook", n.Role)
		}
		return
	}
	if len(n.Disks) < leastRawDisks {
		v.errorf(field+".disks", "%d raw disk(s): size %s wants at least %d of at least %s for role rook", len(n.Disks), v.c.Size, leastRawDisks, RawDisk(v.c.Size))
	}
	good := true
	own := taken{}
	for i, d := range n.Disks {
		good = v.rawDisk(fmt.Sprintf("%s.disks[%d]", field, i), n, d, own, known) && good
	}
	if good {
		v.ratio(field+".disks", n)
	}
}

func (v *checker) rawDisk(field string, n Node, d Disk, own, known taken) bool {
	before := len(v.problems)
	if v.stablePath(field+".path", d.Path, n) {
		if own[d.Path] != "" {
			v.claim(own, d.Path, field+".path")
		} else {
			own[d.Path] = field + ".path"
			v.claimDisk(known, d.Path, field+".path")
		}
	}
	allowed(v, field+".kind", d.Kind, DiskKinds())
	switch least := RawDisk(v.c.Size); {
	case d.Size == 0:
		v.errorf(field+".size", "is required: expected at least %s", least)
	case d.Size < least:
		v.errorf(field+".size", "%s is too little: size %s wants at least %s for a raw disk of role rook", d.Size, v.c.Size, least)
	}
	return len(v.problems) == before
}

// stablePath wants a name that is the same disk at every boot.
func (v *checker) stablePath(field, disk string, n Node) bool {
	switch {
	case disk == "":
		v.errorf(field, "is required: expected a path such as /dev/disk/by-id/…")
	case !strings.HasPrefix(disk, "/dev/disk/by-id/") && !strings.HasPrefix(disk, "/dev/disk/by-path/") || path.Clean(disk) != disk:
		v.errorf(field, "expected a path below /dev/disk/by-id or /dev/disk/by-path, got %q: another name may be another disk at the next boot", short(disk))
	case disk == n.InstallDisk.Path:
		v.errorf(field, "%s is the installDisk of this node", disk)
	default:
		return true
	}
	return false
}

// claimDisk reports a disk that another node has. A by-path is the same in every
// machine of a kind.
func (v *checker) claimDisk(known taken, disk, field string) {
	if strings.HasPrefix(disk, "/dev/disk/by-id/") {
		v.claim(known, disk, field)
	}
}

// dataDisk checks where a registry keeps its images.
func (v *checker) dataDisk(field string, n Node, known taken) {
	if n.DataDisk == (DataDisk{}) {
		return
	}
	if n.Role != RoleHarbor {
		v.errorf(field, "a node of role %s keeps its data on its system disk: expected it on nodes of role harbor", n.Role)
		return
	}
	if v.stablePath(field+".path", n.DataDisk.Path, n) {
		v.claimDisk(known, n.DataDisk.Path, field+".path")
	}
	switch least := Minimum(v.c.Size, n.Role).Disk; {
	case n.DataDisk.Size == 0:
		v.errorf(field+".size", "is required: expected at least %dGB", least/gigabyte)
	case n.DataDisk.Size < least:
		v.errorf(field+".size", "%s is too little: size %s wants at least %dGB for the images of role harbor", n.DataDisk.Size, v.c.Size, least/gigabyte)
	}
}

// ratio checks that the SSDs of a node hold the databases of its HDDs.
func (v *checker) ratio(field string, n Node) {
	of := func(kind DiskKind) (count int) {
		for _, d := range n.Disks {
			if d.Kind == kind {
				count++
			}
		}
		return count
	}
	ssds, hdds := of(SSD), of(HDD)
	switch {
	case hdds > 0 && ssds == 0 && v.c.Size == SizeProduction:
		v.errorf(field, "%d of kind hdd and none of kind ssd: size production wants an SSD for at most %d HDDs", hdds, mostPerSSD)
	case hdds > 0 && ssds == 0:
		v.warnf(field, "%d of kind hdd and none of kind ssd: databases on HDDs are slow", hdds)
	case hdds > ssds*mostPerSSD:
		v.errorf(field, "%d of kind hdd and %d of kind ssd: expected an SSD for at most %d HDDs", hdds, ssds, mostPerSSD)
	default:
		v.databases(field, n)
	}
}

// databases leaves a hundredth of an SSD to LVM, which keeps its tables there.
func (v *checker) databases(field string, n Node) {
	used := map[string]Bytes{}
	for _, osd := range v.c.OSDs(n) {
		used[osd.Metadata] += Bytes(osd.DatabaseMB) * MiB
	}
	for i, d := range n.Disks {
		if used[d.Path] > d.Size/100*99 {
			v.errorf(fmt.Sprintf("%s[%d].size", field, i), "%s is too little for the databases of its HDDs, %d%% of them is %dGB: give it fewer or smaller ones, or lower rook.databasePercent",
				d.Size, v.c.Rook.DatabasePercent, (used[d.Path]+gigabyte-1)/gigabyte)
		}
	}
}

// links checks the network of storage: what a disk writes crosses it twice more.
func (v *checker) links(field string, n Node) {
	if n.Role != RoleRook || len(n.Links) == 0 {
		if i := slices.IndexFunc(n.Links, func(l int) bool { return l <= 0 }); i >= 0 {
			v.errorf(fmt.Sprintf("%s.links[%d]", field, i), "expected a speed in Gbit/s, got %d", n.Links[i])
		}
		return
	}
	say := v.warnf
	if v.c.Size == SizeProduction {
		say = v.errorf
	}
	if len(n.Links) < leastLinks {
		say(field+".links", "%d network interface: role rook wants at least %d of %d Gbit/s", len(n.Links), leastLinks, leastLink)
	}
	for i, l := range n.Links {
		switch {
		case l <= 0:
			v.errorf(fmt.Sprintf("%s.links[%d]", field, i), "expected a speed in Gbit/s, got %d", l)
		case l < leastLink:
			say(fmt.Sprintf("%s.links[%d]", field, i), "%d Gbit/s is slow: role rook wants %d", l, leastLink)
		}
	}
}
