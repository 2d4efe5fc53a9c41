package firstboot

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// etcdDisk is what this node's disk holds of etcd.
type etcdDisk int

const (
	// etcdNone: no file at all. Where etcd knows a member of this node's name,
	// its data is gone for good.
	etcdNone etcdDisk = iota
	// etcdBegun: files, but no log. etcd writes its log before it takes part in
	// anything, so this member has never done so.
	etcdBegun
	// etcdHasData: a log. It decides which cluster the member belongs to,
	// whatever its manifest says.
	etcdHasData
)

func (h *Host) etcdDisk() etcdDisk {
	found := etcdNone
	_ = filepath.WalkDir(h.path(etcdData), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // a folder that cannot be read holds nothing that etcd could read
		}
		found = max(found, etcdBegun)
		// It is made in wal.tmp and then renamed.
		if strings.HasSuffix(path, ".wal") && filepath.Dir(path) == h.path(etcdLog) {
			found = etcdHasData
			return fs.SkipAll
		}
		return nil
	})
	return found
}

// joinedEtcd says whether kubeadm join has written the manifest of this node's
// etcd: kubeadm init starts a new one.
func (h *Host) joinedEtcd() bool {
	data, err := h.read(manifests + "/etcd.yaml")
	return err == nil && bytes.Contains(data, []byte("--initial-cluster-state=existing"))
}

// clearMember takes the member of this node's former disk out of etcd: kubeadm
// would find its peer URL, add none, and wait for a member that never comes. It
// is the cure of Talos, and only where the disk has nothing of etcd.
func (m *machine) clearMember(ctx context.Context) error {
	disk := m.host.etcdDisk()
	if disk == etcdHasData {
		return nil
	}
	etcd, err := m.etcd()
	if err != nil {
		return err
	}
	members, err := etcd.members(ctx)
	if err != nil {
		return fmt.Errorf("waiting for etcd to say who its members are: %w", err)
	}
	own, found := findMember(members, m.node.Name, m.node.Address)
	switch {
	case !found, disk == etcdBegun && own.Name == "":
		return nil // kubeadm adds a member, or goes on with the one that it has added
	case disk == etcdBegun:
		return Stop{fmt.Sprintf("etcd has the member %s of this node, but %s has lost its log: look at it, then install %s again with an empty disk", own, etcdData, m.node.Name)}
	}
	m.console.say("removing member %s from etcd: its data was on a disk that is gone", own)
	if err := etcd.remove(ctx, own); err != nil && !strings.Contains(err.Error(), "member not found") {
		return fmt.Errorf("remove member %s from etcd: %w", own, err)
	}
	return nil
}
