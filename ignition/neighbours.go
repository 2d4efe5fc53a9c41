package ignition

import (
	"net/netip"
	"slices"

	"imgbuild/cluster"
	"imgbuild/cluster/node"
)

func peers(nodes []cluster.Node) []node.Peer {
	var list []node.Peer
	for _, n := range nodes {
		list = append(list, node.Peer{Name: n.Name, Address: n.Address})
	}
	return list
}

// joining are the nodes that a master keeps tokens for.
func joining(c *cluster.Cluster, n cluster.Node) []string {
	if n.Role != cluster.RoleMaster {
		return nil
	}
	var names []string
	for _, other := range c.Nodes {
		if Joins(other.Role) {
			names = append(names, other.Name)
		}
	}
	return names
}

// firstPriority is VRRP's priority of the first balancer of cluster.yaml; each
// after it has one less.
const firstPriority = 200

// balancer is nil for a node that balances nothing.
func balancer(c *cluster.Cluster, n cluster.Node) *node.Balancer {
	lb := c.LoadBalancer
	if lb.Mode != cluster.LBKeepalived {
		return nil
	}
	role := cluster.RoleLB
	if lb.CoLocated {
		role = cluster.RoleMaster
	}
	all := c.NodesOf(role)
	i := slices.IndexFunc(all, func(other cluster.Node) bool { return other.Name == n.Name })
	if i < 0 {
		return nil
	}
	b := &node.Balancer{Port: lb.Port, VIP: lb.Address, RouterID: lb.VirtualRouterID, Priority: firstPriority - i, Peers: []string{}}
	if subnet, err := netip.ParsePrefix(c.Network.Subnet); err == nil {
		b.PrefixLength = subnet.Bits()
	}
	for _, other := range all {
		if other.Name != n.Name {
			b.Peers = append(b.Peers, other.Address)
		}
	}
	return b
}
