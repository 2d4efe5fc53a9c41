package ignition

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// made is when the tests' secrets were made.
func made() time.Time { return time.Date(2026, 1, 2, 15, 4, 5, 999, time.UTC) }

func testSecrets(t *testing.T) Secrets {
	t.Helper()
	s, err := newSecrets("demo", made())
	require.NoError(t, err)
	require.NoError(t, s.check())
	return s
}

func parsed(t *testing.T, p Pair) *x509.Certificate {
	t.Helper()
	cert, err := p.certificate()
	require.NoError(t, err)
	return cert
}

func TestCAsAreBackdatedAndValidForTenYears(t *testing.T) {
	s := testSecrets(t)
	assert.Equal(t, "2026-01-02T15:04:05Z", s.Created.Format(time.RFC3339Nano), "whole seconds")
	for name, p := range map[string]Pair{"kubernetes": s.CA, "front-proxy-ca": s.FrontProxyCA, "etcd-ca": s.EtcdCA} {
		ca := parsed(t, p)
		assert.Equal(t, name, ca.Subject.CommonName)
		assert.Equal(t, []string{"demo"}, ca.Subject.Organization)
		assert.True(t, ca.IsCA && ca.BasicConstraintsValid)
		assert.NotZero(t, ca.KeyUsage&x509.KeyUsageCertSign)
		assert.Equal(t, "2026-01-01T15:04:05Z", ca.NotBefore.Format(time.RFC3339))
		assert.Equal(t, "2036-01-02T15:04:05Z", ca.NotAfter.Format(time.RFC3339))
		assert.NoError(t, ca.CheckSignatureFrom(ca))
		assert.Equal(t, 1, ca.SerialNumber.Sign())
	}
}

// A client certificate is good for the servers of its own CA, and no other.
func TestEtcdClientIsSignedByTheEtcdCA(t *testing.T) {
	s := testSecrets(t)
	client := parsed(t, s.EtcdClient)
	verify := func(ca Pair) error {
		roots := x509.NewCertPool()
		roots.AddCert(parsed(t, ca))
		_, err := client.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: made(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		return err
	}
	assert.NoError(t, verify(s.EtcdCA))
	assert.Error(t, verify(s.CA))
	assert.False(t, client.IsCA)
	assert.Empty(t, client.Subject.Organization)
}

func TestKeysAreNeverPrinted(t *testing.T) {
	s := testSecrets(t)
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb, s, s.CA, s.CA.Key)
	}
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(handler).Info("secrets", "all", s, "key", s.CA.Key, "pair", s.CA, "signing", s.ServiceAccount)
	}
	items, err := s.Items()
	require.NoError(t, err)
	fmt.Fprint(&out, items)
	// Without the text in the message: it is long.
	assert.True(t, strings.Contains(out.String(), hidden))
	assert.False(t, strings.Contains(out.String(), "EC PRIVATE KEY"))
	assert.False(t, strings.Contains(out.String(), fmt.Sprintf("%x", string(s.CA.Key))))
}

// OpenSSL's and kubeadm's pin is the hash of the same bytes.
func TestCAHashIsWhatKubeadmPins(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl to compare with")
	}
	s := testSecrets(t)
	hash, err := s.CAHash()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(file, []byte(s.CA.Certificate), 0o600))
	// https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-join/#token-based-discovery-with-ca-pinning
	out, err := exec.CommandContext(t.Context(), "sh", "-c",
		openssl+` x509 -pubkey -noout -in "$0" | `+openssl+` pkey -pubin -outform der | sha256sum`, file).Output()
	require.NoError(t, err)
	assert.Equal(t, hash, "sha256:"+string(out[:64]))
}

func TestCheckFindsSecretsThatDoNotFit(t *testing.T) {
	for want, spoil := range map[string]func(s, other *Secrets){
		"front-proxy-ca: the key is not the certificate's":                   func(s, other *Secrets) { s.FrontProxyCA.Key = other.FrontProxyCA.Key },
		"etcd-ca: the certificate is missing":                                func(s, _ *Secrets) { s.EtcdCA.Certificate = "" },
		"kubernetes-ca: the private key is missing":                          func(s, _ *Secrets) { s.CA.Key = "" },
		"service-account: the public key is not the private one's":           func(s, other *Secrets) { s.ServiceAccount.Public = other.ServiceAccount.Public },
		`version "imgbuild/secrets/v0": expected imgbuild/secrets/v1`:        func(s, _ *Secrets) { s.Version = "imgbuild/secrets/v0" },
		"apiserver-etcd-client: the private key is damaged":                  func(s, _ *Secrets) { s.EtcdClient.Key = Key(encode("EC PRIVATE KEY", []byte("x"))) },
		"apiserver-etcd-client: the certificate is damaged: x509: malformed": func(s, _ *Secrets) { s.EtcdClient.Certificate = encode("CERTIFICATE", []byte("x")) },
	} {
		s, other := testSecrets(t), testSecrets(t)
		spoil(&s, &other)
		assert.ErrorContains(t, s.check(), want)
	}
}

// What kubectl does with the file: speak TLS to a server of the cluster, and be
// known there as an administrator.
func TestAdminKubeconfig(t *testing.T) {
	c := load(t, "single")
	s, err := newSecrets("demo", time.Now())
	require.NoError(t, err)
	out, err := AdminKubeconfig(c, s)
	require.NoError(t, err)

	var config struct {
		Clusters []struct{ Cluster map[string]string }
		Users    []struct{ User map[string]string }
		Current  string `yaml:"current-context"`
	}
	require.NoError(t, yaml.Unmarshal(out, &config))
	assert.Equal(t, "https://10.77.0.11:6443", config.Clusters[0].Cluster["server"])
	assert.Equal(t, "imgbuild-admin@demo", config.Current)
	data := func(text string) []byte {
		b, err := base64.StdEncoding.DecodeString(text)
		require.NoError(t, err)
		return b
	}
	assert.Equal(t, s.CA.Certificate, string(data(config.Clusters[0].Cluster["certificate-authority-data"])))
	user := config.Users[0].User
	client, err := tls.X509KeyPair(data(user["client-certificate-data"]), data(user["client-key-data"]))
	require.NoError(t, err)

	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM([]byte(s.CA.Certificate)))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.PeerCertificates[0].Subject)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots}
	server.StartTLS()
	defer server.Close()
	web := server.Client()
	web.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{client}
	response, err := web.Get(server.URL)
	require.NoError(t, err)
	defer response.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(response.Body)
	require.NoError(t, err)
	assert.Equal(t, "CN=imgbuild-admin,O=system:masters", body.String())
	left := time.Until(client.Leaf.NotAfter)
	assert.InDelta(t, 365*24, left.Hours(), 25, "a year")
}
