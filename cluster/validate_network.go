package cluster

import (
	"fmt"
	"net/netip"
)

// subnets are the parsed subnets; the zero prefix stands for an invalid one,
// whose problem is reported already.
type subnets struct{ nodes, pods, services netip.Prefix }

func (v *checker) network() {
	n, k := v.c.Network, v.c.Kubernetes
	if n.Subnet == "" {
		v.errorf("network.subnet", "is required: expected the nodes' subnet such as 10.77.0.0/24")
	} else {
		v.net.nodes = v.prefix("network.subnet", n.Subnet, 8, 30, "")
	}
	// kubeadm's own limits (cmd/kubeadm/app/apis/kubeadm/validation): every
	// node gets a /24 of the pods' subnet, which may be 16 bits larger; the
	// services' has at most 20 bits and at least 10 addresses.
	v.net.pods = v.prefix("kubernetes.podSubnet", k.PodSubnet, 8, 24, "every node gets a /24 of it")
	v.net.services = v.prefix("kubernetes.serviceSubnet", k.ServiceSubnet, 12, 28, "kubeadm allows no other")
	v.overlap("kubernetes.podSubnet", v.net.pods, "network.subnet", v.net.nodes)
	v.overlap("kubernetes.serviceSubnet", v.net.services, "network.subnet", v.net.nodes)
	v.overlap("kubernetes.serviceSubnet", v.net.services, "kubernetes.podSubnet", v.net.pods)
	v.podSubnetSize()

	if n.Gateway != "" {
		v.inSubnet("network.gateway", n.Gateway)
	}
	for i, dns := range n.DNS {
		if _, err := netip.ParseAddr(dns); err != nil {
			v.errorf(fmt.Sprintf("network.dns[%d]", i), "expected an address, got %q", short(dns))
		}
	}
	for i, ntp := range n.NTP {
		if !isHost(ntp) {
			v.errorf(fmt.Sprintf("network.ntp[%d]", i), "expected a DNS name or an address, got %q", short(ntp))
		}
	}
}

// prefix parses an IPv4 subnet of at least and at most so many bits; why says
// where the limits come from.
func (v *checker) prefix(field, value string, least, most int, why string) netip.Prefix {
	p, err := netip.ParsePrefix(value)
	switch {
	case err != nil || !p.Addr().Is4():
		v.errorf(field, "expected an IPv4 subnet such as 10.77.0.0/24, got %q", short(value))
	case p != p.Masked():
		v.errorf(field, "%s is an address inside a subnet: expected %s", p, p.Masked())
	case p.Bits() < least || p.Bits() > most:
		if why != "" {
			why = " (" + why + ")"
		}
		v.errorf(field, "expected a prefix length of /%d to /%d%s, got /%d", least, most, why, p.Bits())
	case !isUnicast(p.Addr()):
		v.errorf(field, "%s is reserved: expected a subnet that machines can use, such as 10.77.0.0/24", p)
	default:
		return p
	}
	return netip.Prefix{}
}

func isUnicast(a netip.Addr) bool {
	return !a.IsLoopback() && !a.IsMulticast() && !a.IsUnspecified() && !a.IsLinkLocalUnicast()
}

func (v *checker) overlap(fieldA string, a netip.Prefix, fieldB string, b netip.Prefix) {
	if a.IsValid() && b.IsValid() && a.Overlaps(b) {
		v.errorf(fieldA, "%s overlaps %s %s: expected subnets that share no address", a, fieldB, b)
	}
}

func (v *checker) podSubnetSize() {
	p := v.net.pods
	if !p.IsValid() {
		return
	}
	count := 0
	for _, n := range v.c.Nodes {
		if n.Role.runsKubelet() {
			count++
		}
	}
	if room := 1 << (24 - p.Bits()); count > room {
		v.errorf("kubernetes.podSubnet", "%s has room for %d nodes (a /24 each), but there are %d", p, room, count)
	}
}

// inSubnet checks an address that a machine of network.subnet must have. The
// result is valid only where the address is.
func (v *checker) inSubnet(field, value string) netip.Addr {
	a, err := netip.ParseAddr(value)
	if err != nil || !a.Is4() {
		v.errorf(field, "expected an IPv4 address such as 10.77.0.11, without a prefix length, got %q", short(value))
		return netip.Addr{}
	}
	subnet := v.net.nodes
	if !subnet.IsValid() {
		return a
	}
	switch {
	case !subnet.Contains(a):
		v.errorf(field, "%s is outside network.subnet %s", a, subnet)
	case a == subnet.Addr():
		v.errorf(field, "%s is the address of the subnet %s itself: expected one of its hosts", a, subnet)
	case a == broadcast(subnet):
		v.errorf(field, "%s is the broadcast address of %s: expected one of its hosts", a, subnet)
	default:
		return a
	}
	return netip.Addr{}
}

// broadcast is the last address of an IPv4 subnet.
func broadcast(p netip.Prefix) netip.Addr {
	bytes := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(bytes)
}

func (v *checker) loadBalancer() {
	lb := v.c.LoadBalancer
	// The mode has a default wherever the topology is known.
	if lb.Mode == "" || !allowed(v, "loadBalancer.mode", lb.Mode, LoadBalancerModes()) {
		return
	}
	switch lb.Mode {
	case LBNone:
		v.unused("loadBalancer.address", lb.Address != "", "mode none")
		v.unused("loadBalancer.port", lb.Port != 0, "mode none")
	case LBExternal:
		if lb.Address == "" {
			v.errorf("loadBalancer.address", "is required with mode external: expected the balancer's address or DNS name")
		} else if !isHost(lb.Address) {
			v.errorf("loadBalancer.address", "expected an address or a DNS name, got %q", short(lb.Address))
		}
	case LBKeepalived:
		v.virtualAddress()
	}
	if lb.Mode != LBKeepalived {
		v.unused("loadBalancer.coLocated", lb.CoLocated, "mode "+string(lb.Mode))
		v.unused("loadBalancer.virtualRouterID", lb.VirtualRouterID != 0, "mode "+string(lb.Mode))
	}
	if lb.Mode != LBNone && (lb.Port < 1 || lb.Port > 65535) {
		v.errorf("loadBalancer.port", "expected 1 to 65535, got %d", lb.Port)
	}
}

func (v *checker) unused(field string, used bool, why string) {
	if used {
		v.errorf(field, "has no effect with %s: remove it, or choose another loadBalancer.mode", why)
	}
}

func (v *checker) virtualAddress() {
	lb := v.c.LoadBalancer
	if lb.Address == "" {
		v.errorf("loadBalancer.address", "is required with mode keepalived: expected a free address in network.subnet")
	} else {
		v.inSubnet("loadBalancer.address", lb.Address)
	}
	// RFC 5798, 5.2.3.
	if lb.VirtualRouterID < 1 || lb.VirtualRouterID > 255 {
		v.errorf("loadBalancer.virtualRouterID", "expected 1 to 255, got %d", lb.VirtualRouterID)
	}
	if lb.CoLocated && lb.Port == apiServerPort {
		v.errorf("loadBalancer.port", "%d is the API server's own on a master: expected another one with coLocated, such as %d", lb.Port, coLocatedPort)
	}
}
