package protocol

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"time"
)

// Pin is how a CA is known on a command line: "sha256:" and the hex SHA-256 of its
// SubjectPublicKeyInfo, as kubeadm's discovery has it.
func Pin(ca *x509.Certificate) string {
	sum := sha256.Sum256(ca.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Pinned are the TLS settings of a client that knows the CA's pin and the server's
// host, and nothing else: no CA of the system is asked.
//
// The time is not asked either. A machine that was never on has a clock that is
// years away, and the server's certificate is made when the server starts.
func Pinned(pin, host string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: host,
		// VerifyConnection does all that this leaves out.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(c tls.ConnectionState) error {
			return verify(c.PeerCertificates, pin, host)
		},
	}
}

func verify(chain []*x509.Certificate, pin, host string) error {
	if len(chain) == 0 {
		return errors.New("the server shows no certificate")
	}
	leaf, roots := chain[0], x509.NewCertPool()
	known := false
	for _, c := range chain[1:] {
		if Pin(c) == pin && c.IsCA {
			roots.AddCert(c)
			known = true
		}
	}
	if !known {
		return fmt.Errorf("the server shows no certificate of the cluster's CA %s: it is another cluster's, or somebody is between", pin)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, DNSName: name(host), CurrentTime: leaf.NotBefore.Add(time.Second),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// name is the form in which x509 takes an address for one.
func name(host string) string {
	if net.ParseIP(host) != nil {
		return "[" + host + "]"
	}
	return host
}

// Equal compares two values that nobody may learn by how long it takes. Those
// compared have the same length, or differ in what everybody may know.
func Equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return bytes.Equal(x[:], y[:])
}
