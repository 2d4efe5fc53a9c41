package firstboot

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
	"imgbuild/protocol"
)

// claimServer gives a bundle to the first key that asks, as imgbuild serve does.
type claimServer struct {
	t      *testing.T
	bundle protocol.Bundle
	// bound is the key that has claimed; lose drops answers after it is bound.
	bound string
	lose  int
	asked []string
	state []string
	words []string
}

func (s *claimServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/v1/nodes/master-1/status":
		var a protocol.AgentStatus
		json.NewDecoder(r.Body).Decode(&a)
		s.state = append(s.state, a.State)
		s.words = append(s.words, r.Header.Get("Authorization"))
		w.Write([]byte("{}"))
	case "/v1/nodes/master-1/claim":
		var c protocol.Claim
		json.NewDecoder(r.Body).Decode(&c)
		s.asked = append(s.asked, c.Recipient)
		if s.bound != "" && s.bound != c.Recipient {
			w.WriteHeader(http.StatusGone)
			json.NewEncoder(w).Encode(protocol.Error{Error: "another key has claimed them"})
			return
		}
		s.bound = c.Recipient
		if s.lose > 0 {
			s.lose--
			panic(http.ErrAbortHandler)
		}
		json.NewEncoder(w).Encode(protocol.Claimed{Bundle: s.seal(c.Recipient)})
	}
}

func (s *claimServer) seal(to string) string {
	recipient, err := age.ParseX25519Recipient(to)
	require.NoError(s.t, err)
	data, err := json.Marshal(s.bundle)
	require.NoError(s.t, err)
	var out bytes.Buffer
	text := armor.NewWriter(&out)
	sealed, err := age.Encrypt(text, recipient)
	require.NoError(s.t, err)
	_, err = sealed.Write(data)
	require.NoError(s.t, errors.Join(err, sealed.Close(), text.Close()))
	return out.String()
}

// claiming is a machine whose secrets are at a server.
func claiming(t *testing.T) (*fake, *claimServer) {
	t.Helper()
	f := newFake(t)
	s := &claimServer{t: t, bundle: protocol.Bundle{
		Version: protocol.BundleVersion, Node: "master-1",
		Directories: []protocol.Directory{{Path: pki, Mode: 0o700}},
		Files:       []protocol.File{{Path: node.ReportPath, Mode: 0o600, Text: "report-word\n"}},
	}}
	for _, name := range f.node.Secrets {
		data, err := f.host.read(name)
		require.NoError(t, err)
		s.bundle.Files = append(s.bundle.Files, protocol.File{Path: name, Mode: 0o600, Text: string(data)})
		f.remove(name)
	}
	ca := f.cas["ca"]
	cert := ca.pair(t)
	cert.Certificate = append(cert.Certificate, ca.cert.Raw)
	server := httptest.NewUnstartedServer(s)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	f.dial["10.77.0.11:8443"] = server.Listener.Addr().String()
	f.json(node.ClaimPath, node.Claim{Server: "https://10.77.0.11:8443", CA: protocol.Pin(ca.cert), Nonce: "nonce"})
	return f, s
}

func (f *fake) runClaim() error {
	// A few attempts are as good as three days of them.
	pauses, sleep := 0, f.host.Sleep
	f.host.Sleep = func(ctx context.Context, d time.Duration) error {
		if pauses++; pauses > 20 {
			return errEnough
		}
		return sleep(ctx, d)
	}
	defer func() { f.host.Sleep = sleep }()
	m := f.machine()
	r := &runner{host: m.host, console: m.console, report: m.report}
	return r.run(f.t.Context(), []Phase{m.claimPhase()})
}

func TestSecretsAreClaimed(t *testing.T) {
	f, s := claiming(t)
	require.NoError(t, f.runClaim())
	for _, file := range s.bundle.Files {
		data, err := f.host.read(file.Path)
		require.NoError(t, err)
		assert.Equal(t, file.Text, string(data), file.Path)
		info, err := os.Stat(filepath.Join(f.root, file.Path))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	info, err := os.Stat(filepath.Join(f.root, pki))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	assert.False(t, f.host.exists(claimKey), "nobody needs the key any more")
	assert.NotContains(t, f.console.String()+f.journal.String(), "PRIVATE")
	assert.Equal(t, "Bearer nonce", s.words[0], "before it has the word")

	require.NoError(t, f.runClaim(), "the next boot asks nobody")
	assert.Len(t, s.asked, 1)
	assert.Equal(t, "Bearer report-word", s.words[len(s.words)-1])
}

// The answer is lost, and then the power: the same key asks again.
func TestAClaimIsRepeatedWithTheSameKey(t *testing.T) {
	f, s := claiming(t)
	s.lose = 1
	require.NoError(t, f.runClaim())
	require.Len(t, s.asked, 2)
	assert.Equal(t, s.asked[0], s.asked[1])

	f, s = claiming(t)
	m := f.machine()
	identity, err := m.claimIdentity()
	require.NoError(t, err)
	s.bound = identity.Recipient().String()
	f.file(node.ReportPath, "")
	require.NoError(t, f.runClaim(), "a boot after a power cut in the middle of writing")
	assert.Equal(t, []string{s.bound}, s.asked)
}

func TestAClaimOfSomebodyElse(t *testing.T) {
	f, s := claiming(t)
	s.bound = "age1somebody"
	require.ErrorIs(t, f.runClaim(), errEnough, "it goes on asking: reissue may come")
	assert.Contains(t, f.console.String(), "another key has claimed them")
	for _, name := range f.node.Secrets {
		assert.False(t, f.host.exists(name))
	}
}

// A server with a certificate of another CA learns no nonce.
func TestAServerThatIsNotOurs(t *testing.T) {
	f, s := claiming(t)
	f.json(node.ClaimPath, node.Claim{Server: "https://10.77.0.11:8443", CA: "sha256:" + strings.Repeat("00", 32), Nonce: "nonce"})
	require.ErrorIs(t, f.runClaim(), errEnough)
	assert.Contains(t, f.console.String(), "it is another cluster's, or somebody is between")
	assert.Empty(t, s.asked)
}

// The server gives secrets, not orders.
func TestABundleWithMoreThanSecrets(t *testing.T) {
	f, s := claiming(t)
	s.bundle.Files = append(s.bundle.Files, protocol.File{Path: "/etc/cron.d/surprise", Mode: 0o644, Text: "x"})
	err := f.runClaim()
	require.ErrorAs(t, err, new(Stop))
	assert.ErrorContains(t, err, "/etc/cron.d/surprise")
	assert.False(t, f.host.exists("/etc/cron.d/surprise"))
}
