package ignition

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strconv"
	"strings"
)

// What single nodes are given is derived from the keys of the CAs, as tokens
// are (node.Token), and not kept in the secrets file: a node that is added to
// cluster.yaml later needs nothing new there, and the same node always gets the
// same. Whoever has a CA's key can make all of it; nobody can tell the key, or
// what another node has, from one of it.

// derive is 32 bytes for a purpose, of which each has its own. What is made of
// them must never change for the same purpose: count its version up instead.
func (k Key) derive(purpose ...string) ([]byte, error) {
	if _, err := k.parse(); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(k))
	mac := hmac.New(sha256.New, block.Bytes)
	mac.Write([]byte(strings.Join(purpose, "\x00")))
	return mac.Sum(nil), nil
}

// deriveKey is a key pair for a purpose.
func (k Key) deriveKey(purpose ...string) (*ecdsa.PrivateKey, error) {
	// One in 2^32 sums is larger than the curve's order and no key.
	for try := range 8 {
		sum, err := k.derive(append(purpose, strconv.Itoa(try))...)
		if err != nil {
			return nil, err
		}
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), sum); err == nil {
			return key, nil
		}
	}
	return nil, errors.New("no sum is a private key, please report this")
}

// vrrpPassword is what the balancers of a cluster know each other by, 8
// letters. VRRP sends it in the clear: it keeps apart what should not mix, and
// keeps nobody out.
func vrrpPassword(s Secrets) (string, error) {
	sum, err := s.CA.Key.derive("imgbuild/vrrp/v1", s.Cluster)
	if err != nil {
		return "", fmt.Errorf("make the balancers' password: kubernetes-ca: %w", err)
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum))[:8], nil
}

// etcdMember is a certificate of a machine that runs etcd, for the use server
// or peer. Each is for both sides of a connection: etcd asks itself as a
// client. It is valid as long as its CA, as nothing on the machine could renew
// it.
func etcdMember(s Secrets, use, name, address string) (Pair, error) {
	p, err := s.EtcdCA.deriveMember(use, name, address)
	if err != nil {
		return Pair{}, fmt.Errorf("make the etcd %s certificate of %s: etcd-ca: %w", use, name, err)
	}
	return p, nil
}

func (p Pair) deriveMember(use, name, address string) (Pair, error) {
	return p.deriveLeaf("etcd", []string{use, name, address}, x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		DNSNames:    []string{name, "localhost"},
		IPAddresses: []net.IP{net.ParseIP(address), net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

// registryServer is what a node of role harbor shows. It is valid as long as its
// CA, as nothing on the machine could renew it, and nobody's client certificate.
func registryServer(s Secrets, name, address, host string) (Pair, error) {
	template := x509.Certificate{
		Subject:     pkix.Name{CommonName: "registry"},
		DNSNames:    []string{name, "localhost"},
		IPAddresses: []net.IP{net.ParseIP(address), net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	switch ip := net.ParseIP(host); {
	case ip == nil:
		template.DNSNames = append(template.DNSNames, host)
	case host != address:
		template.IPAddresses = append(template.IPAddresses, ip)
	}
	p, err := s.CA.deriveLeaf("registry", []string{name, address, host}, template)
	if err != nil {
		return Pair{}, fmt.Errorf("make the registry's certificate for %s: kubernetes-ca: %w", name, err)
	}
	return p, nil
}

// deriveLeaf fills in a certificate for a kind of machine. The same words, which
// are all that differs between two of a kind, give the same one.
func (p Pair) deriveLeaf(kind string, words []string, template x509.Certificate) (Pair, error) {
	ca, err := p.certificate()
	if err != nil {
		return Pair{}, err
	}
	caKey, err := p.Key.parse()
	if err != nil {
		return Pair{}, err
	}
	key, err := p.Key.deriveKey(append([]string{"imgbuild/" + kind + "-key/v1"}, words...)...)
	if err != nil {
		return Pair{}, err
	}
	serial, err := p.Key.derive(append([]string{"imgbuild/" + kind + "-serial/v1"}, words...)...)
	if err != nil {
		return Pair{}, err
	}
	template.SerialNumber = new(big.Int).SetBytes(serial[:16])
	template.NotBefore, template.NotAfter = ca.NotBefore, ca.NotAfter
	template.KeyUsage = x509.KeyUsageDigitalSignature
	// Without a random source the signature is RFC 6979's, always the same.
	return certify(nil, &template, ca, key, caKey)
}
