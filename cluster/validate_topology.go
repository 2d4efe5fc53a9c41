package cluster

import (
	"fmt"
	"slices"
)

// topology checks how many nodes of each role there are. It says nothing while
// a role or the topology itself is unknown: every count would be wrong.
func (v *checker) topology() {
	known := func(n Node) bool { return slices.Contains(Roles(), n.Role) }
	if len(v.c.Nodes) == 0 || !all(v.c.Nodes, known) || !slices.Contains(Topologies(), v.c.Topology) {
		return
	}
	switch v.c.Topology {
	case Single:
		v.single()
	case Stacked:
		v.stacked()
	case ExternalEtcd:
		v.externalEtcd()
	}
	v.balancers()
	v.production()
	v.storage()
}

func all(nodes []Node, is func(Node) bool) bool {
	return !slices.ContainsFunc(nodes, func(n Node) bool { return !is(n) })
}

func (v *checker) count(role Role) int { return len(v.c.NodesOf(role)) }

// forbid reports every node of a role that the topology has no use for.
func (v *checker) forbid(role Role, reason string) {
	for i, n := range v.c.Nodes {
		if n.Role == role {
			v.errorf(fmt.Sprintf("nodes[%d].role", i), "a node of role %s: %s", role, reason)
		}
	}
}

func (v *checker) single() {
	if masters := v.count(RoleMaster); masters != 1 {
		v.errorf("nodes", "topology single needs exactly 1 node of role master, got %d", masters)
	}
	v.forbid(RoleEtcd, "topology single runs etcd on its master: remove the node, or use topology external-etcd")
	v.forbid(RoleLB, "topology single has one master and nothing to balance: remove the node")
	if v.c.LoadBalancer.Mode == LBKeepalived {
		v.errorf("loadBalancer.mode", "keepalived needs more than one master: expected none or external with topology single")
	}
}

func (v *checker) stacked() {
	if masters := v.count(RoleMaster); masters < 3 || masters%2 == 0 {
		v.errorf("nodes", "topology stacked runs etcd on every master and needs an odd number of them, at least 3, got %d: %s", masters, quorum)
	}
	v.forbid(RoleEtcd, "topology stacked runs etcd on its masters: remove the node, or use topology external-etcd")
}

// quorum is why numbers of etcd members are odd: https://etcd.io/docs/v3.6/faq/#why-an-odd-number-of-cluster-members
const quorum = "an even number tolerates no more failures than one less"

func (v *checker) externalEtcd() {
	if masters := v.count(RoleMaster); masters < 2 {
		v.errorf("nodes", "topology external-etcd needs at least 2 nodes of role master, got %d", masters)
	}
	etcd := v.count(RoleEtcd)
	switch {
	case etcd == 1 && v.c.Size != SizeProduction:
		v.warnf("nodes", "one node of role etcd: the cluster stops when it does")
	case etcd < 3:
		v.errorf("nodes", "topology external-etcd needs an odd number of nodes of role etcd, at least 3 (1 with size test), got %d", etcd)
	case etcd%2 == 0:
		v.errorf("nodes", "topology external-etcd needs an odd number of nodes of role etcd, got %d: %s", etcd, quorum)
	}
}

// balancers checks the load balancer of more than one master.
func (v *checker) balancers() {
	lb, count := v.c.LoadBalancer, v.count(RoleLB)
	if v.c.Topology == Single {
		return
	}
	switch lb.Mode {
	case LBNone:
		v.errorf("loadBalancer.mode", "none needs exactly one master: expected keepalived or external with topology %s", v.c.Topology)
	case LBExternal:
		v.forbid(RoleLB, "loadBalancer.mode external means a balancer that is not ours: remove the node, or use mode keepalived")
	case LBKeepalived:
		v.keepalived(lb, count)
	}
}

func (v *checker) keepalived(lb LoadBalancer, count int) {
	switch {
	case lb.CoLocated && v.c.Size == SizeProduction:
		v.errorf("loadBalancer.coLocated", "balancers on the masters are for size test only: expected nodes of role lb with size %s", v.c.Size)
	case lb.CoLocated && count > 0:
		v.forbid(RoleLB, "loadBalancer.coLocated puts the balancers on the masters: remove the node or coLocated")
	case !lb.CoLocated && count == 0:
		v.errorf("nodes", "loadBalancer.mode keepalived needs 2 nodes of role lb, got none: add them, or set loadBalancer.coLocated with size test")
	case !lb.CoLocated && count == 1:
		v.warnf("nodes", "one node of role lb: the API is unreachable when it is down; 2 take over from each other")
	}
}

// production warns about numbers that the production size was not meant for.
func (v *checker) production() {
	workers, harbors := v.count(RoleWorker), v.count(RoleHarbor)
	if workers > 100 {
		v.warnf("nodes", "%d nodes of role worker: the design goes up to 100", workers)
	}
	if workers == 0 && v.c.Kubernetes.MasterTaint != nil && *v.c.Kubernetes.MasterTaint {
		v.warnf("nodes", "no node of role worker: nothing runs ordinary pods while kubernetes.masterTaint is true")
	}
	if v.c.Size != SizeProduction {
		return
	}
	if v.c.Topology == Single {
		v.warnf("topology", "single with size production: the cluster stops when its master does")
	}
	if workers == 1 || workers == 2 {
		v.warnf("nodes", "%d node(s) of role worker: size production means at least 3", workers)
	}
	if harbors == 1 || harbors == 2 {
		v.warnf("nodes", "%d node(s) of role harbor: size production means 3", harbors)
	}
}

// storage checks the rook nodes: Ceph's monitors need a majority of three.
func (v *checker) storage() {
	rooks := v.count(RoleRook)
	switch {
	case rooks == 0 || rooks >= 3:
	case v.c.Size == SizeProduction:
		v.errorf("nodes", "Ceph needs at least 3 nodes of role rook, got %d", rooks)
	default:
		v.warnf("nodes", "%d node(s) of role rook: Ceph keeps no copy on another machine with fewer than 3", rooks)
	}
}
