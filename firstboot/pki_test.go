package firstboot

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority is a CA that a test has made.
type authority struct {
	cert            *x509.Certificate
	key             *ecdsa.PrivateKey
	certPEM, keyPEM string
}

// validity holds both now and at the time of the tests' machines.
func validity() (from, until time.Time) {
	now, fake := time.Now(), testStart()
	if now.Before(fake) {
		now, fake = fake, now
	}
	return fake.Add(-48 * time.Hour), now.Add(48 * time.Hour)
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	from, until := validity()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{cert: cert, key: key, certPEM: pemText("CERTIFICATE", der), keyPEM: keyText(t, key)}
}

// issue makes a certificate that serves testAddress and is good for a client.
func (a *authority) issue(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	from, until := validity()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: from, NotAfter: until,
		IPAddresses: testServers(),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	require.NoError(t, err)
	return pemText("CERTIFICATE", der), keyText(t, private)
}

// testServers are all addresses that a server of a test may have: the endpoint,
// three masters, a worker, three etcd machines, and the API's Service.
func testServers() []net.IP {
	list := []net.IP{net.ParseIP(apiService)}
	for _, last := range []byte{10, 11, 12, 13, 21, 31, 32, 33} {
		list = append(list, net.IPv4(10, 77, 0, last))
	}
	return list
}

func (a *authority) pair(t *testing.T) tls.Certificate {
	t.Helper()
	cert, key := a.issue(t, "server")
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	require.NoError(t, err)
	return pair
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func keyText(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return pemText("PRIVATE KEY", der)
}

func (f *fake) json(name string, v any) {
	f.t.Helper()
	data, err := json.Marshal(v)
	require.NoError(f.t, err)
	f.file(name, string(data))
}
