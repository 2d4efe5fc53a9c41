package ignition

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"time"
)

const (
	// backdate is how long before its making a certificate is valid: machines
	// start with clocks that are wrong by a time zone.
	backdate = 24 * time.Hour
	// caYears is kubeadm's validity of a CA.
	caYears = 10
)

// newSecrets makes all secrets of a cluster. Nothing but the clock and the
// random source is read.
func newSecrets(cluster string, now time.Time) (Secrets, error) {
	s := Secrets{Version: secretsVersion, Cluster: cluster, Created: now.UTC().Truncate(time.Second)}
	// The common names are those that kubeadm gives its own.
	for _, ca := range []struct {
		into *Pair
		name string
	}{{&s.CA, "kubernetes"}, {&s.FrontProxyCA, "front-proxy-ca"}, {&s.EtcdCA, "etcd-ca"}} {
		var err error
		if *ca.into, err = newCA(ca.name, cluster, s.Created); err != nil {
			return Secrets{}, fmt.Errorf("make the CA %s: %w", ca.name, err)
		}
	}
	var err error
	// As long as its CA: nothing on a master could renew it, since only machines
	// that run etcd may hold that CA's key.
	s.EtcdClient, err = s.EtcdCA.issueClient(pkix.Name{CommonName: "kube-apiserver-etcd-client"}, s.Created, s.Created.AddDate(caYears, 0, 0))
	if err != nil {
		return Secrets{}, fmt.Errorf("make the API servers' etcd client certificate: %w", err)
	}
	key, err := newKey()
	if err != nil {
		return Secrets{}, fmt.Errorf("make the service-account key: %w", err)
	}
	if s.ServiceAccount.Key, err = keyPEM(key); err != nil {
		return Secrets{}, fmt.Errorf("make the service-account key: %w", err)
	}
	if s.ServiceAccount.Public, err = publicPEM(key); err != nil {
		return Secrets{}, fmt.Errorf("make the service-account key: %w", err)
	}
	if s.RegistryToken, err = newRSAKey(); err != nil {
		return Secrets{}, fmt.Errorf("make the registry's token key: %w", err)
	}
	return s, nil
}

// rsaBits are enough until 2030: NIST SP 800-57, table 4. A token lives for half an
// hour.
const rsaBits = 2048

func newRSAKey() (Key, error) {
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return Key(encode("PRIVATE KEY", der)), nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	// kubeadm's encryptionAlgorithm ECDSA-P256.
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// newCA makes a CA that signs itself. The organization tells the CAs of two
// clusters apart; Kubernetes gives it no meaning in a CA.
func newCA(name, cluster string, now time.Time) (Pair, error) {
	key, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name, Organization: []string{cluster}},
		DNSNames:              []string{name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.AddDate(caYears, 0, 0),
		KeyUsage:              x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	return sign(template, template, key, key)
}

// issueClient makes a key and a certificate that this CA's servers accept from
// their clients, valid until the given time but no longer than the CA.
func (p Pair) issueClient(subject pkix.Name, now, until time.Time) (Pair, error) {
	ca, err := p.certificate()
	if err != nil {
		return Pair{}, err
	}
	caKey, err := p.Key.parse()
	if err != nil {
		return Pair{}, err
	}
	key, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		Subject:     subject,
		NotBefore:   later(now.Add(-backdate), ca.NotBefore),
		NotAfter:    until,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if template.NotAfter.After(ca.NotAfter) {
		template.NotAfter = ca.NotAfter
	}
	return sign(template, ca, key, caKey)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func sign(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (Pair, error) {
	// RFC 5280, 4.1.2.2: positive and at most 20 octets.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return Pair{}, err
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	return certify(rand.Reader, template, parent, key, parentKey)
}

// certify signs the template, which has a serial number.
func certify(random io.Reader, template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (Pair, error) {
	der, err := x509.CreateCertificate(random, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return Pair{}, err
	}
	private, err := keyPEM(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{encode("CERTIFICATE", der), private}, nil
}

func keyPEM(key *ecdsa.PrivateKey) (Key, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return "", err
	}
	return Key(encode("EC PRIVATE KEY", der)), nil
}

func publicPEM(key *ecdsa.PrivateKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", err
	}
	return encode("PUBLIC KEY", der), nil
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
