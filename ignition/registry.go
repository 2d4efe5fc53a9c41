package ignition

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"path"
	"strconv"
	"strings"

	"imgbuild/cluster"
	"imgbuild/cluster/node"
)

// The registry as its own nodes see it, and as those see it that pull from it.

// RegistryUser is the administrator of a registry of ours; Harbor knows him by
// no other name.
const RegistryUser = "admin"

// registryPort is where a registry is that is named without a port.
const registryPort = 443

const (
	// containerdHosts has a folder for each registry that containerd is asked for:
	// https://github.com/containerd/containerd/blob/main/docs/hosts.md
	containerdHosts = "/etc/containerd/certs.d"
)

// ownRegistry is nil for a node that serves no images.
func ownRegistry(c *cluster.Cluster, n cluster.Node) *node.Registry {
	if n.Role != cluster.RoleHarbor {
		return nil
	}
	r := &node.Registry{Kind: string(c.Registry.Kind), Host: c.Registry.Host, Port: RegistryPort(c)}
	addExternal(r, c.Registry.External)
	return r
}

// RegistryPort is the port of a registry of ours. Nodes that a name leads to listen on the one
// that it is called by.
func RegistryPort(c *cluster.Cluster) int {
	_, port := splitHostPort(c.Registry.Host, registryPort)
	return port
}

// splitHostPort takes HOST or HOST:PORT apart, which was validated.
func splitHostPort(text string, port int) (host string, _ int) {
	host, given, _ := strings.Cut(text, ":")
	if n, err := strconv.Atoi(given); err == nil {
		port = n
	}
	return host, port
}

// registryHost is the registry's name or address without the port.
func registryHost(c *cluster.Cluster) string {
	host, _ := splitHostPort(c.Registry.Host, registryPort)
	return host
}

// RegistryPassword is the administrator's, 32 letters. All nodes of role harbor
// know a hash of it, since they are one registry by one name.
func RegistryPassword(s Secrets) (string, error) {
	sum, err := s.CA.Key.derive("imgbuild/registry-password/v1", s.Cluster)
	if err != nil {
		return "", fmt.Errorf("make the registry's password: kubernetes-ca: %w", err)
	}
	// 160 bits, and none of them in a letter that looks like another.
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum))[:32], nil
}

// registryFiles are the secrets of a node of role harbor.
func registryFiles(c *cluster.Cluster, n cluster.Node, s Secrets) ([]butaneFile, error) {
	tls, err := registryServer(s, n.Name, n.Address, registryHost(c))
	if err != nil {
		return nil, err
	}
	password, err := RegistryPassword(s)
	if err != nil {
		return nil, err
	}
	files := append([]butaneFile{public(node.CAPath, s.CA.Certificate)}, pair(node.RegistryDir+"/tls", tls)...)
	var own []butaneFile
	if c.Registry.Kind == cluster.RegistryHarbor {
		own, err = harborFiles(c, s, password)
	} else {
		own, err = distributionFiles(s, password)
	}
	return append(files, own...), err
}

// distributionFiles are those of the distribution registry, which needs to know
// a hash of the password only.
func distributionFiles(s Secrets, password string) ([]butaneFile, error) {
	hash := sha256.Sum256([]byte(password))
	upload, err := s.CA.Key.derive("imgbuild/registry-uploads/v1", s.Cluster)
	if err != nil {
		return nil, fmt.Errorf("make the registry's upload secret: kubernetes-ca: %w", err)
	}
	return []butaneFile{
		private(node.RegistryDir+"/password.sha256", hex.EncodeToString(hash[:])+"\n"),
		private(node.RegistryDir+"/upload-secret", hex.EncodeToString(upload)+"\n"),
	}, nil
}

// harborFiles are those of Harbor. All instances of a cluster have the same, so
// that each accepts the tokens of the others.
func harborFiles(c *cluster.Cluster, s Secrets, password string) ([]butaneFile, error) {
	if s.RegistryToken == "" {
		return nil, fmt.Errorf("the secrets of cluster %s have no key for Harbor's tokens, an older imgbuild has made them: imgbuild secrets --rotate makes new ones", s.Cluster)
	}
	secret, err := s.CA.Key.derive("imgbuild/harbor/v1", s.Cluster)
	if err != nil {
		return nil, fmt.Errorf("make Harbor's secret: kubernetes-ca: %w", err)
	}
	external, err := externalFiles(c, s)
	return append([]butaneFile{
		private(node.RegistryDir+"/admin-password", password+"\n"),
		private(node.RegistryDir+"/harbor-secret", hex.EncodeToString(secret)+"\n"),
		private(node.RegistryDir+"/token.key", string(s.RegistryToken)),
	}, external...), err
}

// mirrorFiles tell the containerd of a Kubernetes node where to pull from.
// Baked images are never pulled, so that nothing waits for a registry that is
// down.
func mirrorFiles(c *cluster.Cluster, n cluster.Node) []butaneFile {
	r := c.Registry
	if r.Host == "" || !hasContainers(n.Role) {
		return nil
	}
	var files []butaneFile
	m := mirror{hosts: registryHosts(c)}
	switch {
	case len(c.NodesOf(cluster.RoleHarbor)) == 0 && r.CA != "":
		files = append(files, public(node.RegistryCAPath, r.CA))
		m.ca = node.RegistryCAPath
	case len(c.NodesOf(cluster.RoleHarbor)) > 0 && n.Role == cluster.RoleMaster:
		m.ca = pkiDir + "/ca.crt"
	case len(c.NodesOf(cluster.RoleHarbor)) > 0:
		m.ca = node.CAPath
	}
	add := func(registry, text string) {
		files = append(files, public(path.Join(containerdHosts, registry, "hosts.toml"), text))
	}
	add(r.Host, m.only(""))
	for _, upstream := range r.Upstreams {
		if r.UpstreamFallback {
			add(upstream, m.first("/"+upstream))
		} else {
			add(upstream, m.only("/"+upstream))
		}
	}
	if !r.UpstreamFallback {
		// Any other registry: nodes ask for its images where there are none of it.
		add("_default", m.only("/other"))
	}
	return files
}

func hasContainers(role cluster.Role) bool { return role == cluster.RoleMaster || Joins(role) }

// registryHosts are all addresses of a registry of ours, so that one that is
// down is no matter, or the name of another.
func registryHosts(c *cluster.Cluster) []string {
	var hosts []string
	for _, n := range c.NodesOf(cluster.RoleHarbor) {
		hosts = append(hosts, n.Address+":"+strconv.Itoa(RegistryPort(c)))
	}
	if len(hosts) == 0 {
		return []string{c.Registry.Host}
	}
	return hosts
}

// mirror writes hosts.toml files.
type mirror struct {
	hosts []string
	// ca is a path, empty where the registry's is one that everybody knows.
	ca string
}

// first asks the hosts before the registry itself.
func (m mirror) first(below string) string {
	var b strings.Builder
	for _, host := range m.hosts {
		m.host(&b, host, below)
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// only asks the hosts and nobody else: the last one is in the place of the
// registry itself.
func (m mirror) only(below string) string {
	last := len(m.hosts) - 1
	var b strings.Builder
	fmt.Fprintf(&b, "server = %q\n", "https://"+m.hosts[last]+"/v2"+below)
	m.options(&b, "")
	for _, host := range m.hosts[:last] {
		m.host(&b, host, below)
	}
	return b.String()
}

func (m mirror) host(b *strings.Builder, host, below string) {
	fmt.Fprintf(b, "\n[host.%q]\n", "https://"+host+"/v2"+below)
	m.options(b, "  ")
}

func (m mirror) options(b *strings.Builder, indent string) {
	fmt.Fprintf(b, "%scapabilities = [\"pull\", \"resolve\"]\n%soverride_path = true\n", indent, indent)
	if m.ca != "" {
		fmt.Fprintf(b, "%sca = %q\n", indent, m.ca)
	}
}
