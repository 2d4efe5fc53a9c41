package ignition

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is derived from the same key must never change: machines that run have it.
func TestDerivedStaysTheSame(t *testing.T) {
	raw, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), append(make([]byte, 31), 7))
	require.NoError(t, err)
	key, err := keyPEM(raw)
	require.NoError(t, err)
	password, err := vrrpPassword(Secrets{Cluster: "demo", CA: Pair{Key: key}})
	require.NoError(t, err)
	assert.Equal(t, "plm662y7", password)
	registry, err := RegistryPassword(Secrets{Cluster: "demo", CA: Pair{Key: key}})
	require.NoError(t, err)
	assert.Equal(t, "mjm7fs7txu5ms7cui3qa3mr2ssnao3i3", registry)
	leaf, err := key.deriveKey("imgbuild/etcd-key/v1", "server", "etcd-1", "10.77.0.41")
	require.NoError(t, err)
	secret, err := leaf.Bytes()
	require.NoError(t, err)
	assert.Equal(t, "2df9bb8f6a5553ae", hex.EncodeToString(secret[:8]))
}

func TestVRRPPassword(t *testing.T) {
	s := testSecrets(t)
	password, err := vrrpPassword(s)
	require.NoError(t, err)
	assert.Regexp(t, `^[a-z2-7]{8}$`, password, "all that VRRP takes, and nothing that keepalived.conf gives a meaning")
	again, err := vrrpPassword(s)
	require.NoError(t, err)
	assert.Equal(t, password, again)
	other, err := vrrpPassword(testSecrets(t))
	require.NoError(t, err)
	assert.NotEqual(t, password, other)
	_, err = vrrpPassword(Secrets{})
	assert.EqualError(t, err, "make the balancers' password: kubernetes-ca: the private key is missing or not an EC key in PEM")
}

func member(t *testing.T, s Secrets, use, name, address string) Pair {
	t.Helper()
	p, err := etcdMember(s, use, name, address)
	require.NoError(t, err)
	return p
}

// A node always has the same certificates, and no two have the same key.
func TestEtcdMembersAreDerived(t *testing.T) {
	s := testSecrets(t)
	first := member(t, s, "server", "etcd-1", "10.77.0.41")
	assert.Equal(t, first, member(t, s, "server", "etcd-1", "10.77.0.41"))
	cert, ca := parsed(t, first), parsed(t, s.EtcdCA)
	assert.Equal(t, "etcd-1", cert.Subject.CommonName)
	assert.Equal(t, []string{"etcd-1", "localhost"}, cert.DNSNames)
	assert.Equal(t, "[10.77.0.41 127.0.0.1]", fmt.Sprint(cert.IPAddresses))
	assert.Equal(t, ca.NotBefore, cert.NotBefore)
	assert.Equal(t, ca.NotAfter, cert.NotAfter)
	assert.False(t, cert.IsCA)

	keys, serials := map[Key]bool{first.Key: true}, map[string]bool{cert.SerialNumber.String(): true}
	for _, p := range []Pair{
		member(t, s, "peer", "etcd-1", "10.77.0.41"),
		member(t, s, "server", "etcd-2", "10.77.0.41"),
		member(t, s, "server", "etcd-1", "10.77.0.42"),
		member(t, testSecrets(t), "server", "etcd-1", "10.77.0.41"),
	} {
		serial := parsed(t, p).SerialNumber
		assert.Equal(t, 1, serial.Sign())
		assert.False(t, keys[p.Key] || serials[serial.String()])
		keys[p.Key], serials[serial.String()] = true, true
	}

	_, err := etcdMember(Secrets{EtcdCA: Pair{Certificate: s.EtcdCA.Certificate}}, "peer", "etcd-1", "10.77.0.41")
	assert.EqualError(t, err, "make the etcd peer certificate of etcd-1: etcd-ca: the private key is missing or not an EC key in PEM")
}

// What etcd does with them: members and API servers speak to a member by any of
// its names, and nobody else does.
func TestEtcdMembersSpeakToEachOther(t *testing.T) {
	s, err := newSecrets("demo", time.Now())
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM([]byte(s.EtcdCA.Certificate)))
	keyPair := func(p Pair) tls.Certificate {
		pair, err := tls.X509KeyPair([]byte(p.Certificate), []byte(string(p.Key)))
		require.NoError(t, err)
		return pair
	}
	stranger, err := s.CA.issueClient(parsed(t, s.EtcdClient).Subject, time.Now(), time.Now().AddDate(1, 0, 0))
	require.NoError(t, err)
	for _, use := range []string{"server", "peer"} {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.TLS = &tls.Config{
			Certificates: []tls.Certificate{keyPair(member(t, s, use, "etcd-1", "10.77.0.41"))},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: roots,
		}
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		defer server.Close()
		at, err := url.Parse(server.URL)
		require.NoError(t, err)
		speak := func(as Pair, to string) error {
			pair := keyPair(as)
			conn, err := tls.Dial("tcp", at.Host, &tls.Config{
				RootCAs: roots, ServerName: to,
				// Also where the server does not ask for one of this CA.
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
			})
			if err != nil {
				return err
			}
			defer conn.Close()
			// With TLS 1.3 a client learns from the first answer that it was refused.
			if _, err := fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
				return err
			}
			_, err = conn.Read(make([]byte, 1))
			return err
		}
		for _, name := range []string{"etcd-1", "10.77.0.41", "localhost", "127.0.0.1"} {
			assert.NoError(t, speak(s.EtcdClient, name), name)
			assert.NoError(t, speak(member(t, s, "peer", "etcd-2", "10.77.0.42"), name), name)
			assert.NoError(t, speak(member(t, s, "server", "etcd-1", "10.77.0.41"), name), name)
		}
		assert.ErrorContains(t, speak(s.EtcdClient, "etcd-2"), "not etcd-2")
		assert.ErrorContains(t, speak(stranger, "etcd-1"), "unknown certificate authority")
	}
}
