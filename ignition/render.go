package ignition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"imgbuild/cluster"
	"imgbuild/cluster/node"
)

// Where a node has what is not the agent's own.
const (
	networkPath        = "/etc/systemd/network/10-imgbuild.network"
	chronyPath         = "/etc/chrony/conf.d/imgbuild.conf"
	authorizedKeysPath = "/etc/ssh/authorized_keys.d/root"
	sshUnit            = "ssh.service"
)

// Render makes the Ignition config of one node, JSON of spec 3.4. It holds the
// secrets of the node's role in the clear. The same input gives the same bytes.
func Render(c *cluster.Cluster, n cluster.Node, s Secrets) ([]byte, error) {
	return renderConfig(c, n, s, nil)
}

// renderConfig leaves the secrets out where the node is to claim them.
func renderConfig(c *cluster.Cluster, n cluster.Node, s Secrets, claim *node.Claim) ([]byte, error) {
	// cluster.yaml may write a MAC in any of its forms.
	mac, err := net.ParseMAC(n.MAC)
	if err != nil {
		return nil, fmt.Errorf("render the config of %s: mac: %w", n.Name, err)
	}
	n.MAC = mac.String()
	secrets, err := secretFiles(c, n, s)
	if err != nil {
		return nil, fmt.Errorf("render the config of %s: %w", n.Name, err)
	}
	nodeJSON, err := nodeFile(c, n, s, secrets)
	if err != nil {
		return nil, fmt.Errorf("render the config of %s: %w", n.Name, err)
	}
	network, err := networkFile(c, n)
	if err != nil {
		return nil, fmt.Errorf("render the config of %s: %w", n.Name, err)
	}
	files := []butaneFile{
		public("/etc/hostname", n.Name+"\n"),
		public("/etc/hosts", hostsFile(c)),
		public(networkPath, network),
		public(node.Path, nodeJSON),
	}
	if len(c.Network.NTP) > 0 {
		files = append(files, public(chronyPath, chronyFile(c.Network.NTP)))
	}
	files = append(files, mirrorFiles(c, n)...)
	storage, err := storageFiles(c, n)
	if err != nil {
		return nil, fmt.Errorf("render the config of %s: %w", n.Name, err)
	}
	files = append(files, storage...)
	config := butane{Storage: butaneStorage{Files: files}}
	if claim == nil {
		config.Storage.Files = append(config.Storage.Files, secrets...)
		config.Storage.Directories = secretDirectories(secrets)
	} else {
		text, err := encodeJSON(claim)
		if err != nil {
			return nil, fmt.Errorf("render the config of %s: %w", n.Name, err)
		}
		config.Storage.Files = append(config.Storage.Files, private(node.ClaimPath, text))
	}
	if len(c.SSH.AuthorizedKeys) > 0 {
		// Not in root's home, which is on the read-only root.
		config.Storage.Files = append(config.Storage.Files, private(authorizedKeysPath, keyLines(c.SSH.AuthorizedKeys)))
		config.Systemd.Units = []butaneUnit{{Name: sshUnit, Enabled: true}}
	}
	out, err := config.compile()
	if err != nil {
		return nil, fmt.Errorf("render the config of %s: %w", n.Name, err)
	}
	return out, nil
}

func public(path, text string) butaneFile {
	return butaneFile{Path: path, Mode: 0o644, Overwrite: true, Contents: butaneContents{text}}
}

func private(path, text string) butaneFile {
	return butaneFile{Path: path, Mode: 0o600, Overwrite: true, Contents: butaneContents{text}}
}

// hostsFile names all nodes, so that they find each other without DNS. An
// endpoint that is a name is left to DNS: nothing here knows its address.
func hostsFile(c *cluster.Cluster) string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	for _, n := range c.Nodes {
		fmt.Fprintf(&b, "%s %s\n", n.Address, n.Name)
	}
	return b.String()
}

// networkFile is a systemd.network(5) for the interface with the node's MAC.
// Type keeps VLANs and bridges out, which take over that MAC. Nothing but the
// given address is wanted: no DHCP, no link-local, no router's advertisements.
func networkFile(c *cluster.Cluster, n cluster.Node) (string, error) {
	network := c.Network
	subnet, err := netip.ParsePrefix(network.Subnet)
	if err != nil {
		return "", fmt.Errorf("network.subnet: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[Match]\nMACAddress=%s\nType=ether\n\n[Network]\nAddress=%s/%d\n", n.MAC, n.Address, subnet.Bits())
	if network.Gateway != "" {
		fmt.Fprintf(&b, "Gateway=%s\n", network.Gateway)
	}
	for _, dns := range network.DNS {
		fmt.Fprintf(&b, "DNS=%s\n", dns)
	}
	b.WriteString("DHCP=no\nIPv6AcceptRA=no\nLinkLocalAddressing=no\nLLDP=no\n")
	if network.Gateway == "" {
		// A Service's address is replaced by a pod's on its way out, but only a
		// packet that has a route is on its way.
		fmt.Fprintf(&b, "\n[Route]\nDestination=%s\nScope=link\n", c.Kubernetes.ServiceSubnet)
	}
	return b.String(), nil
}

func chronyFile(servers []string) string {
	var b strings.Builder
	for _, server := range servers {
		fmt.Fprintf(&b, "server %s iburst\n", server)
	}
	return b.String()
}

func keyLines(keys []string) string {
	var b strings.Builder
	for _, key := range keys {
		b.WriteString(strings.TrimSpace(key) + "\n")
	}
	return b.String()
}

// nodeFile is node.json, checked as the agent will check it.
func nodeFile(c *cluster.Cluster, n cluster.Node, s Secrets, secrets []butaneFile) (string, error) {
	hash, err := s.CAHash()
	if err != nil {
		return "", err
	}
	host, port := c.Endpoint()
	k := c.Kubernetes
	out := node.Node{
		Version:    node.Version,
		Cluster:    c.Name,
		Name:       n.Name,
		Role:       string(n.Role),
		Address:    n.Address,
		MAC:        n.MAC,
		InitMaster: n.Name == c.InitMaster().Name,
		Topology:   string(c.Topology),
		Endpoint:   node.Endpoint{Host: host, Port: port},
		Kubernetes: node.Kubernetes{
			Version:       k.Version,
			PodSubnet:     k.PodSubnet,
			ServiceSubnet: k.ServiceSubnet,
			DNSDomain:     k.DNSDomain,
			CNI:           k.CNI,
			CertSANs:      k.CertSANs,
			MasterTaint:   k.MasterTaint != nil && *k.MasterTaint,
		},
		CAHash:    hash,
		NotBefore: s.Created.Format(time.RFC3339),
		Secrets:   paths(secrets),
		Labels:    labels(n),
		Disks:     disks(n),
		DataDisk:  dataDisk(n),
		PullsFrom: pullsFrom(c, n),
		Taints:    taints(n),
		Masters:   peers(c.NodesOf(cluster.RoleMaster)),
		Etcd:      peers(c.NodesOf(cluster.RoleEtcd)),
		Joining:   joining(c, n),
		Balancer:  balancer(c, n),
		Registry:  ownRegistry(c, n),
		Timeouts:  node.Timeouts{API: c.Timeouts.API.String(), Etcd: c.Timeouts.Etcd.String(), Heartbeat: c.Timeouts.Heartbeat.String()},
	}
	if err := out.Validate(); err != nil {
		return "", err
	}
	return encodeJSON(out)
}

func encodeJSON(v any) (string, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return "", err
	}
	return b.String(), nil
}
