package ignition

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"

	"imgbuild/cluster"
	"imgbuild/cluster/node"
	"imgbuild/protocol"
)

// What machines that start from the network are given: a config without secrets,
// and a bundle of these for who claims it.

// RenderClaim is Render for a node that claims its secrets: the config holds
// whom to ask instead of them.
func RenderClaim(c *cluster.Cluster, n cluster.Node, s Secrets, claim node.Claim) ([]byte, error) {
	return renderConfig(c, n, s, &claim)
}

// Bundle is what RenderClaim leaves out, and the word that the node reports with.
func Bundle(c *cluster.Cluster, n cluster.Node, s Secrets) ([]byte, error) {
	files, err := secretFiles(c, n, s)
	if err != nil {
		return nil, fmt.Errorf("make the bundle of %s: %w", n.Name, err)
	}
	token, err := ReportToken(s, n.Name)
	if err != nil {
		return nil, err
	}
	b := protocol.Bundle{Version: protocol.BundleVersion, Node: n.Name}
	for _, d := range secretDirectories(files) {
		b.Directories = append(b.Directories, protocol.Directory{Path: d.Path, Mode: uint32(d.Mode)})
	}
	for _, f := range append(files, private(node.ReportPath, token+"\n")) {
		b.Files = append(b.Files, protocol.File{Path: f.Path, Mode: uint32(f.Mode), Text: f.Contents.Inline})
	}
	return json.Marshal(b)
}

// ReportToken is what a node that has its secrets says with how far it is.
func ReportToken(s Secrets, name string) (string, error) {
	sum, err := s.CA.Key.derive("imgbuild/report/v1", s.Cluster, name)
	if err != nil {
		return "", fmt.Errorf("make the report token of %s: kubernetes-ca: %w", name, err)
	}
	return hex.EncodeToString(sum), nil
}

// InstallKey signs the manifests of the cluster's images.
func InstallKey(s Secrets) (ed25519.PrivateKey, error) {
	sum, err := s.CA.Key.derive("imgbuild/install-key/v1", s.Cluster)
	if err != nil {
		return nil, fmt.Errorf("make the key that images are signed with: kubernetes-ca: %w", err)
	}
	return ed25519.NewKeyFromSeed(sum), nil
}

// ServerCertificate is what imgbuild serve shows at these addresses or names: its
// own, and the CA's, by whose pin nodes know it.
func ServerCertificate(s Secrets, hosts []string) (tls.Certificate, error) {
	template := x509.Certificate{
		Subject:     pkix.Name{CommonName: "imgbuild serve"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	p, err := s.CA.deriveLeaf("serve", hosts, template)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the server's certificate: kubernetes-ca: %w", err)
	}
	cert, err := tls.X509KeyPair([]byte(p.Certificate), []byte(p.Key))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the server's certificate: %w", err)
	}
	block, _ := pem.Decode([]byte(s.CA.Certificate))
	cert.Certificate = append(cert.Certificate, block.Bytes)
	return cert, nil
}
