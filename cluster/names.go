package cluster

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// dnsLabel is RFC 1123 in lower case, as Kubernetes wants node names.
var dnsLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

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
	last := s[strings.LastIndex(s, ".")+1:]
	if _, err := strconv.Atoi(last); err == nil {
		return false
	}
	return isDNSName(s)
}

// isHostPort accepts a host with or without a port.
func isHostPort(s string) bool {
	host, port, found := strings.Cut(s, ":")
	if !found {
		return isHost(s)
	}
	n, err := strconv.Atoi(port)
	return isHost(host) && err == nil && n > 0 && n < 1<<16
}

// webURL is nil for what does not lead to a web server.
func webURL(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil
	}
	return u
}

// label checks a required name that becomes a host name or part of one.
func (v *checker) label(field, name string) bool {
	switch {
	case name == "":
		v.errorf(field, "is required: expected a name of a-z, 0-9 and -, at most 63 letters")
	case !dnsLabel.MatchString(name):
		v.errorf(field, "expected a-z, 0-9 and -, at most 63 letters, with a letter or digit at both ends, got %q", short(name))
	case name == "localhost":
		v.errorf(field, "localhost is every machine's name for itself: expected another name")
	default:
		return true
	}
	return false
}

// Kubernetes' rules for labels:
// https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
var labelWord = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)

func isLabelKey(key string) bool {
	prefix, name, found := strings.Cut(key, "/")
	if !found {
		return labelWord.MatchString(key)
	}
	return isDNSName(prefix) && labelWord.MatchString(name)
}

// isReservedLabel says whether a kubelet refuses to give itself the label: all
// of kubernetes.io and k8s.io except for two prefixes and a few names.
// https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
func isReservedLabel(key string) bool {
	prefix, _, found := strings.Cut(key, "/")
	within := func(domain string) bool { return prefix == domain || strings.HasSuffix(prefix, "."+domain) }
	if !found || !within("kubernetes.io") && !within("k8s.io") {
		return false
	}
	if within("kubelet.kubernetes.io") || within("node.kubernetes.io") {
		return false
	}
	switch key {
	case "kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch",
		"topology.kubernetes.io/region", "topology.kubernetes.io/zone":
		return false
	}
	return true
}
