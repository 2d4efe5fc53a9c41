package node

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// masterRole is the only role that may start a cluster.
const masterRole = "master"

var (
	// dnsLabel is RFC 1123 in lower case, as Kubernetes wants node names.
	dnsLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// release is a full Kubernetes version.
	release = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.]+)?$`)
	// labelWord is the name of a label and, where it is not empty, its value:
	// https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
	labelWord = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
)

// Validate reports everything that is wrong with the values, one line each.
func (n Node) Validate() error {
	p := &problems{file: "node.json"}
	if n.Version != Version {
		p.addf("version", "expected %s, got %q: render the config with the imgbuild that built the image", Version, n.Version)
	}
	p.label("cluster", n.Cluster)
	p.label("name", n.Name)
	p.label("role", n.Role)
	p.address("address", n.Address)
	if mac, err := net.ParseMAC(n.MAC); err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		p.addf("mac", "expected six bytes such as 52:54:00:77:00:11, got %q", n.MAC)
	}
	if n.InitMaster && n.Role != masterRole {
		p.addf("initMaster", "expected false for the role %q: only a %s starts a cluster", n.Role, masterRole)
	}
	p.oneOf("topology", n.Topology, "single", "stacked", "external-etcd")
	if !isHost(n.Endpoint.Host) {
		p.addf("endpoint.host", "expected an address or a DNS name, got %q", n.Endpoint.Host)
	}
	p.number("endpoint.port", n.Endpoint.Port, 1, 65535)
	n.Kubernetes.validate(p)
	if digest, found := strings.CutPrefix(n.CAHash, "sha256:"); !found || !isSHA256(digest) {
		p.addf("caHash", "expected sha256: and 64 hex digits, got %q", n.CAHash)
	}
	if _, err := time.Parse(time.RFC3339, n.NotBefore); err != nil {
		p.addf("notBefore", "expected a time such as 2026-01-02T15:04:05Z, got %q", n.NotBefore)
	}
	n.neighbours(p)
	p.secrets(n.Secrets)
	p.labels(n.Labels)
	p.disks("disks", n.Disks)
	if n.DataDisk != nil {
		p.disks("dataDisk", []Disk{*n.DataDisk})
	}
	if n.PullsFrom != "" {
		if _, _, err := net.SplitHostPort(n.PullsFrom); err != nil {
			p.addf("pullsFrom", "expected a host and a port, got %q", n.PullsFrom)
		}
	}
	p.taints(n.Taints)
	p.duration("timeouts.api", n.Timeouts.API)
	p.duration("timeouts.etcd", n.Timeouts.Etcd)
	if n.Timeouts.Heartbeat != "" {
		p.duration("timeouts.heartbeat", n.Timeouts.Heartbeat)
	}
	return p.err()
}

// neighbours checks what the node knows of others.
func (n Node) neighbours(p *problems) {
	if len(n.Masters) == 0 {
		p.addf("masters", "expected at least one")
	}
	p.peers("masters", n.Masters)
	p.peers("etcd", n.Etcd)
	if external := n.Topology == "external-etcd"; external != (len(n.Etcd) > 0) {
		p.addf("etcd", "expected nodes with topology external-etcd and no other, got %d with %s", len(n.Etcd), n.Topology)
	}
	for i, name := range n.Joining {
		p.label(fmt.Sprintf("joining[%d]", i), name)
	}
	if n.Balancer != nil {
		n.Balancer.validate(p)
	}
	if n.Registry != nil {
		n.Registry.validate(p)
	}
}

func (b Balancer) validate(p *problems) {
	p.number("balancer.port", b.Port, 1, 65535)
	p.address("balancer.vip", b.VIP)
	p.number("balancer.prefixLength", b.PrefixLength, 1, 32)
	p.number("balancer.routerID", b.RouterID, 1, 255)
	p.number("balancer.priority", b.Priority, 1, 254)
	for i, a := range b.Peers {
		p.address(fmt.Sprintf("balancer.peers[%d]", i), a)
	}
}

func (r Registry) validate(p *problems) {
	p.oneOf("registry.kind", r.Kind, "distribution", "harbor")
	host, _, _ := strings.Cut(r.Host, ":")
	if !isHost(host) {
		p.addf("registry.host", "expected an address or a DNS name, with or without :PORT, got %q", r.Host)
	}
	p.number("registry.port", r.Port, 1, 65535)
	r.external(p)
}

func (r Registry) external(p *problems) {
	if d := r.Database; d != nil {
		p.service("registry.database", d.Host, d.Port)
		p.oneOf("registry.database.sslMode", d.SSLMode, "disable", "require", "verify-ca", "verify-full")
		p.required("registry.database.name", d.Name)
		p.required("registry.database.user", d.User)
	}
	if d := r.Redis; d != nil {
		p.service("registry.redis", d.Host, d.Port)
	}
	if s := r.S3; s != nil {
		p.required("registry.s3.bucket", s.Bucket)
		p.required("registry.s3.region", s.Region)
	}
}

func (p *problems) service(field, host string, port int) {
	if !isHost(host) {
		p.addf(field+".host", "expected an address or a DNS name, got %q", host)
	}
	p.number(field+".port", port, 1, 65535)
}

func (p *problems) required(field, value string) {
	if value == "" {
		p.addf(field, "is missing")
	}
}

func (p *problems) peers(field string, list []Peer) {
	for i, peer := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		p.label(at+".name", peer.Name)
		p.address(at+".address", peer.Address)
	}
}

func (p *problems) address(field, value string) {
	if a, err := netip.ParseAddr(value); err != nil || !a.Is4() {
		p.addf(field, "expected an IPv4 address such as 10.77.0.11, got %q", value)
	}
}

func (p *problems) number(field string, value, least, most int) {
	if value < least || value > most {
		p.addf(field, "expected %d to %d, got %d", least, most, value)
	}
}

func (k Kubernetes) validate(p *problems) {
	if !release.MatchString(k.Version) {
		p.addf("kubernetes.version", "expected a version such as v1.36.3, got %q", k.Version)
	}
	p.subnet("kubernetes.podSubnet", k.PodSubnet)
	p.subnet("kubernetes.serviceSubnet", k.ServiceSubnet)
	if !isDNSName(k.DNSDomain) {
		p.addf("kubernetes.dnsDomain", "expected a DNS name such as cluster.local, got %q", k.DNSDomain)
	}
	p.oneOf("kubernetes.cni", k.CNI, "flannel", "none")
	for i, san := range k.CertSANs {
		if !isHost(strings.TrimPrefix(san, "*.")) {
			p.addf(fmt.Sprintf("kubernetes.certSANs[%d]", i), "expected an address or a DNS name, got %q", san)
		}
	}
}

// Validate reports everything that is wrong with the values, one line each.
func (i Image) Validate() error {
	p := &problems{file: "image.json"}
	p.label("role", i.Role)
	if !isSHA256(i.Plan) {
		p.addf("plan", "expected 64 hex digits, got %q", i.Plan)
	}
	if i.Base == "" {
		p.addf("base", "expected a distribution release such as debian-13, got nothing")
	}
	for _, name := range slices.Sorted(maps.Keys(i.Components)) {
		if name == "" || i.Components[name] == "" {
			p.addf(join("components", name), "expected a component and its version, got %q", i.Components[name])
		}
	}
	for j, ref := range i.Images {
		if ref == "" || strings.ContainsAny(ref, " \t\n") {
			p.addf(fmt.Sprintf("images[%d]", j), "expected the reference of a container image, got %q", ref)
		}
	}
	return p.err()
}

func (p *problems) label(field, value string) {
	if !dnsLabel.MatchString(value) {
		p.addf(field, "expected a-z, 0-9 and -, at most 63 letters, with a letter or digit at both ends, got %q", value)
	}
}

func (p *problems) oneOf(field, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		p.addf(field, "expected one of %s, got %q", strings.Join(allowed, ", "), value)
	}
}

func (p *problems) subnet(field, value string) {
	if s, err := netip.ParsePrefix(value); err != nil || !s.Addr().Is4() || s != s.Masked() {
		p.addf(field, "expected an IPv4 subnet such as 10.244.0.0/16, got %q", value)
	}
}

func (p *problems) duration(field, value string) {
	if d, err := time.ParseDuration(value); err != nil || d <= 0 {
		p.addf(field, "expected a duration such as 10m, got %q", value)
	}
}

func (p *problems) secrets(paths []string) {
	seen := map[string]bool{}
	for i, s := range paths {
		field := fmt.Sprintf("secrets[%d]", i)
		switch {
		case !path.IsAbs(s) || path.Clean(s) != s || strings.ContainsRune(s, 0):
			p.addf(field, "expected an absolute path, got %q", s)
		case seen[s]:
			p.addf(field, "expected every path once, got %s again", s)
		}
		seen[s] = true
	}
}

func (p *problems) labels(labels map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		prefix, word, found := strings.Cut(key, "/")
		if !found {
			prefix, word = "", key
		}
		if found && !isDNSName(prefix) || !labelWord.MatchString(word) {
			p.addf(join("labels", key), "expected a Kubernetes label such as rack or example.com/rack")
		} else if value := labels[key]; value != "" && !labelWord.MatchString(value) {
			p.addf(join("labels", key), "expected at most 63 letters, digits, '-', '_' and '.', got %q", value)
		}
	}
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && s == strings.ToLower(s)
}

func isDNSName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !dnsLabel.MatchString(label) {
			return false
		}
	}
	return true
}

// isHost accepts an address or a DNS name. A name whose last label is all
// digits is a mistyped address (RFC 1123, 2.1).
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	if _, err := strconv.Atoi(s[strings.LastIndex(s, ".")+1:]); err == nil {
		return false
	}
	return isDNSName(s)
}

func (p *problems) disks(list string, disks []Disk) {
	for i, d := range disks {
		field := fmt.Sprintf("%s[%d]", list, i)
		if !strings.HasPrefix(d.Path, "/dev/") || path.Clean(d.Path) != d.Path || strings.ContainsRune(d.Path, 0) {
			p.addf(field+".path", "expected a path below /dev, got %q", d.Path)
		}
		if d.Size <= 0 {
			p.addf(field+".size", "expected a number of bytes, got %d", d.Size)
		}
	}
}

func (p *problems) taints(taints []Taint) {
	for i, t := range taints {
		field := fmt.Sprintf("taints[%d]", i)
		p.labels(map[string]string{t.Key: t.Value})
		p.oneOf(field+".effect", t.Effect, "NoSchedule", "PreferNoSchedule", "NoExecute")
	}
}
