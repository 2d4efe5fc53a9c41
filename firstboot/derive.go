package firstboot

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	// derivedFor is how long a derived certificate is valid. It outlasts a join
	// on a slow machine, and a clock that is some hours behind the others'.
	derivedFor = 6 * time.Hour
	// derivedSince is how far back, for clocks that are ahead of the others'.
	derivedSince = 24 * time.Hour
)

// derived is a certificate that this node has made for itself, with its key: PEM.
type derived struct{ certificate, key []byte }

// derive makes a client certificate with the key of a CA, which masters have.
// So a master needs no token and nobody who hands it a certificate.
func (m *machine) derive(caName string, subject pkix.Name) (derived, error) {
	ca, err := m.host.readCertificate(pki + "/" + caName + ".crt")
	if err != nil {
		return derived{}, err
	}
	path := pki + "/" + caName + ".key"
	data, err := m.host.read(path)
	if err != nil {
		return derived{}, fmt.Errorf("%s: %w", path, reason(err))
	}
	caKey, err := parseKey(data)
	if err != nil {
		return derived{}, fmt.Errorf("%s: %w", path, err)
	}
	certificate, key, err := issueClient(ca, caKey, subject, m.host.Now())
	if err != nil {
		return derived{}, fmt.Errorf("client certificate of %s: %w", caName, err)
	}
	return derived{certificate, key}, nil
}

func issueClient(ca *x509.Certificate, caKey crypto.Signer, subject pkix.Name, now time.Time) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	// RFC 5280, 4.1.2.2: positive and at most 20 octets.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      subject,
		NotBefore:    now.Add(-derivedSince),
		NotAfter:     now.Add(derivedFor),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if template.NotBefore.Before(ca.NotBefore) {
		template.NotBefore = ca.NotBefore
	}
	if template.NotAfter.After(ca.NotAfter) {
		template.NotAfter = ca.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &private.PublicKey, caKey)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return encode("CERTIFICATE", der), encode("EC PRIVATE KEY", keyDER), nil
}

// parseKey reads a CA's key. Its errors say nothing of the content.
func parseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("is not PEM")
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	return nil, errors.New("is not a private key")
}

// deriveAdmin is an administrator of Kubernetes, as kubeadm's admin.conf is: its
// group has no rights before kubeadm init has bound them, so it never sees half
// a cluster.
func (m *machine) deriveAdmin() (derived, error) {
	return m.derive("ca", pkix.Name{CommonName: "imgbuild:" + m.node.Name, Organization: []string{"kubeadm:cluster-admins"}})
}

// deriveEtcd is a client of the etcd that masters run themselves.
func (m *machine) deriveEtcd() (derived, error) {
	return m.derive("etcd/ca", pkix.Name{CommonName: "imgbuild:" + m.node.Name})
}

// credentials are what the holder of a derived certificate shows to servers
// that a CA has signed.
func (d derived) credentials(ca *x509.Certificate) (credentials, error) {
	pair, err := tls.X509KeyPair(d.certificate, d.key)
	if err != nil {
		return credentials{}, errors.New("a derived certificate does not fit its key")
	}
	return credentials{ca: poolOf(ca), client: pair}, nil
}

// kubeconfig is for kubeadm.
func (d derived) kubeconfig(cluster, server string, ca *x509.Certificate) ([]byte, error) {
	const user = "imgbuild"
	return yaml.Marshal(object{
		"apiVersion": "v1",
		"kind":       "Config",
		"clusters": []object{{"name": cluster, "cluster": object{
			"server":                     server,
			"certificate-authority-data": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}),
		}}},
		"contexts":        []object{{"name": user, "context": object{"cluster": cluster, "user": user}}},
		"current-context": user,
		"users": []object{{"name": user, "user": object{
			"client-certificate-data": d.certificate, "client-key-data": d.key,
		}}},
	})
}

func poolOf(ca *x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pool
}
