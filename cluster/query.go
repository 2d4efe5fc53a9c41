package cluster

import "slices"

// apiServerPort is kubeadm's default port of an API server.
const apiServerPort = 6443

// Endpoint is where the API of the whole cluster is reached: the load
// balancer, or the only master where there is none.
func (c *Cluster) Endpoint() (host string, port int) {
	if c.LoadBalancer.Mode == LBKeepalived || c.LoadBalancer.Mode == LBExternal {
		return c.LoadBalancer.Address, c.LoadBalancer.Port
	}
	return c.InitMaster().Address, apiServerPort
}

// InitMaster is the one node that runs kubeadm init: the first master of the
// file. It is the zero Node where there is no master, which no valid cluster has.
func (c *Cluster) InitMaster() Node {
	for _, n := range c.Nodes {
		if n.Role == RoleMaster {
			return n
		}
	}
	return Node{}
}

// NodesOf are the nodes of a role, in the order of the file.
func (c *Cluster) NodesOf(role Role) []Node {
	var nodes []Node
	for _, n := range c.Nodes {
		if n.Role == role {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// Node finds a node by name.
func (c *Cluster) Node(name string) (Node, bool) {
	i := slices.IndexFunc(c.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{}, false
	}
	return c.Nodes[i], true
}

// BaseOf is the distribution release that images of the role are made from.
func (c *Cluster) BaseOf(role Role) string {
	if base := c.Roles[role].Base; base != "" {
		return base
	}
	return c.Base
}
