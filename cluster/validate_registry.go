package cluster

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

func (v *checker) registry() {
	r := v.c.Registry
	harbors := v.c.NodesOf(RoleHarbor)
	if r.Kind != "" {
		allowed(v, "registry.kind", r.Kind, RegistryKinds())
	}
	switch {
	case r.Host != "" && !isHostPort(r.Host):
		v.errorf("registry.host", "expected a DNS name or an address, with or without :PORT and without a scheme, got %q", short(r.Host))
	case r.Host == "" && len(harbors) > 1:
		v.errorf("registry.host", "is required with %d nodes of role harbor: expected the name or address that leads to all of them", len(harbors))
	case r.Host == "" && len(harbors) == 0 && r.Kind != "":
		v.errorf("registry.kind", "has no effect: expected registry.host or nodes of role harbor as well")
	case r.Host == "" && len(harbors) == 0 && r.UpstreamFallback:
		v.warnf("registry.upstreamFallback", "has no effect: there is no registry.host and no node of role harbor")
	}
	if r.Seeded && (len(harbors) == 0 || r.Kind != RegistryDistribution) {
		v.errorf("registry.seeded", "needs nodes of role harbor and registry.kind distribution: Harbor has its images in a database")
	}
	v.registryCA(r, len(harbors) > 0)
	v.external(r, len(harbors))
	v.upstreams(r)
	v.registryImages(r)
}

// imageRef is a container image's full name: its registry, its path and a tag or
// digest. https://github.com/distribution/reference
var imageRef = regexp.MustCompile(`^([^/]+)/[a-z0-9]+([._/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`)

func (v *checker) registryImages(r Registry) {
	if r.Host == "" && len(r.Images) > 0 && len(v.c.NodesOf(RoleHarbor)) == 0 {
		v.errorf("registry.images", "has no effect: there is no registry.host and no node of role harbor")
		return
	}
	for i, image := range r.Images {
		field := fmt.Sprintf("registry.images[%d]", i)
		parts := imageRef.FindStringSubmatch(image)
		switch {
		// A host is told from a folder by its dot or port.
		case parts == nil || !strings.ContainsAny(parts[1], ".:") || !isHostPort(parts[1]):
			v.errorf(field, "expected the full name of an image such as docker.io/library/busybox:1.37, got %q", short(image))
		case parts[3] == "" && parts[4] == "":
			v.errorf(field, "%s: expected a tag or a digest: what a name without one means changes", short(image))
		case slices.Contains(r.Images[:i], image):
			v.errorf(field, "%s is already in this list", short(image))
		}
	}
}

func (v *checker) registryCA(r Registry, own bool) {
	switch {
	case r.CA == "", v.holdsPrivateKey("registry.ca", r.CA):
	case own:
		v.errorf("registry.ca", "the nodes of role harbor show certificates of the cluster's own CA: remove it")
	case r.Host == "":
		v.errorf("registry.ca", "has no effect: there is no registry.host")
	default:
		v.certificates("registry.ca", r.CA)
	}
}

// holdsPrivateKey reports a private key among certificates.
func (v *checker) holdsPrivateKey(field, text string) bool {
	if !strings.Contains(text, privateKey) {
		return false
	}
	// The value is never repeated.
	v.errorf(field, "there is a private key in it: remove it from the file, replace it, and give the certificates alone")
	return true
}

func (v *checker) certificates(field, text string) {
	if !areCertificates(text) {
		v.errorf(field, "expected certificates in PEM, each from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----")
	}
}

func areCertificates(text string) bool {
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return false
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil || block.Type != "CERTIFICATE" {
			return false
		}
		if strings.TrimSpace(string(rest)) == "" {
			return true
		}
	}
}

func (v *checker) upstreams(r Registry) {
	if r.Host == "" && len(r.Upstreams) > 0 && len(v.c.NodesOf(RoleHarbor)) == 0 {
		v.errorf("registry.upstreams", "has no effect: there is no registry.host and no node of role harbor")
		return
	}
	for i, upstream := range r.Upstreams {
		field := fmt.Sprintf("registry.upstreams[%d]", i)
		switch {
		case !isHostPort(upstream):
			v.errorf(field, "expected the host of a registry such as docker.io, got %q", short(upstream))
		case upstream == r.Host:
			v.errorf(field, "%s is registry.host itself: nodes pull its own images from it anyway", upstream)
		case slices.Contains(r.Upstreams[:i], upstream):
			v.errorf(field, "%s is already in this list", upstream)
		}
	}
}
