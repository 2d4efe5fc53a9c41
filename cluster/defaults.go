package cluster

import (
	"net"
	"time"
)

// The defaults that are not the first entry of a list in allowed.go.
const (
	defaultPodSubnet       = "10.244.0.0/16"
	defaultServiceSubnet   = "10.96.0.0/12"
	defaultDNSDomain       = "cluster.local"
	defaultVirtualRouterID = 51
	coLocatedPort          = 8443
	defaultTimeout         = Duration(10 * time.Minute)
	defaultHeartbeat       = Duration(100 * time.Millisecond)
	defaultDatabasePercent = 1
	defaultLabCPUs         = 2
	defaultLabMemory       = 4 * GiB
	defaultLabDisk         = 20 * GiB
)

// setDefaults fills in what the file leaves out. It never changes what the
// file says, except for the spelling of MAC addresses.
func (c *Cluster) setDefaults() {
	// Production is the stricter one: nobody gets less checking by omission.
	or(&c.Size, SizeProduction)
	or(&c.Base, Bases()[0])
	k := &c.Kubernetes
	or(&k.Version, KubernetesVersions()[0])
	or(&k.PodSubnet, defaultPodSubnet)
	or(&k.ServiceSubnet, defaultServiceSubnet)
	or(&k.DNSDomain, defaultDNSDomain)
	or(&k.CNI, CNIs()[0])
	if k.MasterTaint == nil {
		taint := c.Topology != Single
		k.MasterTaint = &taint
	}
	or(&c.Timeouts.API, defaultTimeout)
	or(&c.Timeouts.Etcd, defaultTimeout)
	or(&c.Timeouts.Heartbeat, defaultHeartbeat)
	or(&c.Lab.CPUs, defaultLabCPUs)
	or(&c.Lab.Memory, defaultLabMemory)
	or(&c.Lab.Disk, defaultLabDisk)
	c.setLoadBalancerDefaults()
	c.setRegistryDefaults()
	if len(c.NodesOf(RoleRook)) > 0 {
		or(&c.Rook.Images, RookBaked)
		or(&c.Rook.DatabasePercent, defaultDatabasePercent)
	}
	for i, n := range c.Nodes {
		if mac, err := net.ParseMAC(n.MAC); err == nil {
			c.Nodes[i].MAC = mac.String()
		}
	}
}

func (c *Cluster) setLoadBalancerDefaults() {
	lb := &c.LoadBalancer
	switch c.Topology {
	case Single:
		or(&lb.Mode, LBNone)
	case Stacked, ExternalEtcd:
		or(&lb.Mode, LBKeepalived)
	}
	switch {
	case lb.Mode != LBKeepalived && lb.Mode != LBExternal:
		return
	case lb.CoLocated:
		or(&lb.Port, coLocatedPort)
	default:
		or(&lb.Port, apiServerPort)
	}
	if lb.Mode == LBKeepalived {
		or(&lb.VirtualRouterID, defaultVirtualRouterID)
	}
}

func (c *Cluster) setRegistryDefaults() {
	harbors := c.NodesOf(RoleHarbor)
	if len(harbors) > 0 {
		or(&c.Registry.Kind, RegistryHarbor)
	}
	// With more instances a name in front of them must be given.
	if len(harbors) == 1 {
		or(&c.Registry.Host, harbors[0].Address)
	}
	if d := &c.Registry.External.Database; *d != (Database{}) {
		or(&d.Name, "registry")
		or(&d.SSLMode, "verify-full")
	}
	if c.Registry.Host != "" && len(c.Registry.Upstreams) == 0 {
		c.Registry.Upstreams = defaultUpstreams()
	}
}

// or sets a field that is not set.
func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
