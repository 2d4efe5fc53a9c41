package netboot

import (
	"fmt"
	"net/netip"
	"strings"

	"imgbuild/cluster"
	"imgbuild/cluster/node"
	"imgbuild/netboot/artefact"
	"imgbuild/netboot/state"
	"imgbuild/protocol"
)

// claimFile is what a node is told of us, to claim its secrets.
func (s *Server) claimFile(kept state.Node) node.Claim {
	return node.Claim{Server: s.secureURL(), CA: s.pin, Nonce: kept.Nonce}
}

// installation is what a machine's installer is told before it has its order.
func (s *Server) installation(n cluster.Node, mac, nonce string) installation {
	subnet, _ := netip.ParsePrefix(s.Cluster.Network.Subnet)
	return installation{
		Order: s.secureURL() + "/v1/nodes/" + n.Name + "/order", Nonce: nonce, CA: s.pin, Key: s.publicKey(),
		MAC: mac, Address: fmt.Sprintf("%s/%d", n.Address, subnet.Bits()), Gateway: s.Cluster.Network.Gateway,
	}
}

// orderFor is what every order for a node says. public is the address of the files.
func orderFor(c *cluster.Cluster, n cluster.Node, set artefact.Set, public string, config []byte) protocol.Order {
	images := public + "/images"
	return protocol.Order{
		Version: protocol.OrderVersion, Node: n.Name, Role: string(n.Role),
		Image: imageURL(c.Images.BaseURL, images, set.Manifest), Manifest: images + "/" + string(n.Role) + artefact.ExtManifest,
		Disk: diskOf(n), Wipe: n.Wipe, Ignition: config,
	}
}

// imageURL is where a machine has its image from: base, the folder of cluster.yaml,
// or own, ours.
func imageURL(base, own string, m protocol.Manifest) string {
	if base == "" {
		base = own
	}
	if strings.ContainsAny(base, "{}") {
		return strings.NewReplacer("{role}", m.Role, "{sha256}", m.SHA256).Replace(base)
	}
	return strings.TrimSuffix(base, "/") + "/" + m.Role + artefact.ExtImage
}

// diskOf is the disk that a machine is installed to. Where cluster.yaml names none
// it is the only one that nothing else is done with.
func diskOf(n cluster.Node) protocol.Disk {
	d := n.InstallDisk
	out := protocol.Disk{Path: d.Path, Serial: d.Serial, MinSize: int64(d.MinSize), MaxSize: int64(d.MaxSize)}
	if n.DataDisk.Path != "" {
		out.Except = append(out.Except, n.DataDisk.Path)
	}
	for _, raw := range n.Disks {
		out.Except = append(out.Except, raw.Path)
	}
	return out
}
