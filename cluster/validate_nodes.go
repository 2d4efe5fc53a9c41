package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// maxCPUs is beyond any machine; more is a typing mistake.
const maxCPUs = 1024

// maxNodes is Kubernetes' own limit:
// https://kubernetes.io/docs/setup/best-practices/cluster-large/
const maxNodes = 5000

// runsKubelet says whether machines of the role are Kubernetes nodes.
func (r Role) runsKubelet() bool { return r == RoleMaster || r == RoleWorker || r == RoleRook }

// taken remembers which field has a value that must be unique.
type taken map[string]string

// claim reports a value that another field has already.
func (v *checker) claim(t taken, value, field string) {
	if first, found := t[value]; found {
		v.errorf(field, "%s is already taken by %s", value, first)
		return
	}
	t[value] = field
}

func (v *checker) nodes() {
	if len(v.c.Nodes) == 0 {
		v.errorf("nodes", "is required: expected at least one node of role master")
	}
	if len(v.c.Nodes) > maxNodes {
		v.errorf("nodes", "expected at most %d nodes, got %d", maxNodes, len(v.c.Nodes))
		return
	}
	names, macs, addresses, disks := taken{}, taken{}, taken{}, taken{}
	if a, err := netip.ParseAddr(v.c.Network.Gateway); err == nil {
		addresses[a.String()] = "network.gateway"
	}
	if a, err := netip.ParseAddr(v.c.LoadBalancer.Address); err == nil && v.c.LoadBalancer.Mode == LBKeepalived {
		v.claim(addresses, a.String(), "loadBalancer.address")
	}
	for i, n := range v.c.Nodes {
		field := fmt.Sprintf("nodes[%d]", i)
		allowed(v, field+".role", n.Role, Roles())
		if v.label(field+".name", n.Name) {
			v.claim(names, n.Name, field+".name")
		}
		if v.mac(field+".mac", n.MAC) {
			v.claim(macs, n.MAC, field+".mac")
		}
		if n.Address == "" {
			v.errorf(field+".address", "is required: expected a free address in network.subnet")
		} else if a := v.inSubnet(field+".address", n.Address); a.IsValid() {
			v.claim(addresses, a.String(), field+".address")
		}
		v.installDisk(field+".installDisk", n)
		v.labels(field+".labels", n)
		v.machine(field, n)
		v.rawDisks(field, n, disks)
		v.dataDisk(field+".dataDisk", n, disks)
		v.links(field, n)
	}
}

func (v *checker) mac(field, value string) bool {
	const example = "expected six bytes such as 52:54:00:77:00:11"
	mac, err := net.ParseMAC(value)
	switch {
	case value == "":
		v.errorf(field, "is required: %s", example)
	case err != nil || len(mac) != 6:
		v.errorf(field, "%s, got %q", example, short(value))
	case mac[0]&1 != 0:
		// IEEE 802: the lowest bit of the first byte marks a group.
		v.errorf(field, "%s is a multicast address: expected the address of one interface", mac)
	case slices.Max(mac) == 0:
		v.errorf(field, "%s is nobody's: expected the address of one interface", mac)
	default:
		return true
	}
	return false
}

func (v *checker) labels(field string, n Node) {
	if len(n.Labels) > 0 && slices.Contains(Roles(), n.Role) && !n.Role.runsKubelet() {
		v.warnf(field, "has no effect: a node of role %s is not a Kubernetes node", n.Role)
		return
	}
	for _, key := range sortedKeys(n.Labels) {
		at, value := child(field, key), n.Labels[key]
		switch {
		case !isLabelKey(key):
			v.errorf(at, "expected a Kubernetes label such as rack or example.com/rack")
		case isReservedLabel(key):
			v.errorf(at, "the kubelet may not set labels of kubernetes.io and k8s.io: expected another prefix, or node.kubernetes.io")
		case n.Role == RoleRook && key == StorageLabel && value != StorageLabelValue:
			v.errorf(at, "a node of role rook has the value %s of this label: pods of Ceph look for it", StorageLabelValue)
		case value != "" && !labelWord.MatchString(value):
			v.errorf(at, "expected at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends, got %q", short(value))
		}
	}
}
