package netboot

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster"
	"imgbuild/ignition"
	"imgbuild/netboot/artefact"
	"imgbuild/netboot/dhcp"
	"imgbuild/netboot/state"
	"imgbuild/protocol"
)

const clusterYAML = `apiVersion: imgbuild/v1
name: demo
topology: single
size: test
network: {subnet: 10.77.0.0/24}
nodes:
  - {name: master-1, role: master, mac: "52:54:00:77:00:11", address: 10.77.0.11}
  - {name: worker-1, role: worker, mac: "52:54:00:77:00:31", address: 10.77.0.31}
`

// bench is a server whose handlers are called without firmware.
type bench struct {
	t testing.TB
	*Server
	dir    string
	public *httptest.Server
	secure *httptest.Server
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "cluster.yaml"), []byte(clusterYAML), 0o644))
	c, problems := cluster.Load(filepath.Join(b.dir, "cluster.yaml"))
	require.NoError(t, problems.Err())
	secrets, _, err := ignition.Store{
		File: filepath.Join(b.dir, "secrets.age"), Identity: filepath.Join(b.dir, "identity.txt"),
	}.OpenOrCreate(t.Context(), c.Name)
	require.NoError(t, err)
	sets := map[cluster.Role]artefact.Set{}
	for _, role := range []cluster.Role{cluster.RoleMaster, cluster.RoleWorker} {
		sets[role] = b.fakeSet(string(role))
	}
	b.start(Options{
		Cluster: c, Secrets: secrets, Nodes: []string{"master-1", "worker-1"}, Sets: sets, Address: netip.MustParseAddr("127.0.0.1"),
		HTTPPort: 8080, TLSPort: 8443, DHCP: dhcp.Off, Socket: filepath.Join(b.dir, "sock"), Token: "look",
		Log: slog.New(slog.DiscardHandler),
	})
	return b
}

// start is a server with what the file remembers.
func (b *bench) start(o Options) {
	b.t.Helper()
	var err error
	o.Store, err = state.Open(filepath.Join(b.dir, "state.db"))
	require.NoError(b.t, err)
	b.Server, err = New(o)
	require.NoError(b.t, err)
	b.public = httptest.NewServer(b.publicHandler())
	b.secure = httptest.NewUnstartedServer(b.secureHandler())
	b.secure.TLS = &tls.Config{Certificates: []tls.Certificate{b.cert}}
	b.secure.StartTLS()
	b.t.Cleanup(b.stop)
}

func (b *bench) stop() {
	if b.public != nil {
		b.public.Close()
		b.secure.Close()
		require.NoError(b.t, b.Store.Close())
		b.public = nil
	}
}

// restart ends the server and starts another one from what is on the disk.
func (b *bench) restart() {
	o := b.Options
	b.stop()
	b.start(o)
}

// fakeSet has the files of an image of a role, which is none.
func (b *bench) fakeSet(role string) artefact.Set {
	b.t.Helper()
	dir := filepath.Join(b.dir, role)
	require.NoError(b.t, os.Mkdir(dir, 0o755))
	s := artefact.Set{
		Role: role, Dir: dir, Cmdline: []string{"root=/dev/mapper/root", "ro", "console=ttyS0", "roothash=abc"},
		Manifest: protocol.Manifest{
			Version: protocol.ManifestVersion, Role: role, Plan: "plan-" + role, SHA256: strings.Repeat("ab", 32), Size: 5, RawSize: 8 << 20,
			State: protocol.Partition{Number: 6, Start: 1 << 20, Size: 4 << 20},
		},
	}
	text, err := json.Marshal(s.Manifest)
	require.NoError(b.t, err)
	require.NoError(b.t, os.WriteFile(s.File(artefact.ExtManifest), text, 0o644))
	for _, ext := range []string{artefact.ExtImage, artefact.ExtUKI, artefact.ExtKernel, artefact.ExtInitrd} {
		require.NoError(b.t, os.WriteFile(s.File(ext), []byte("12345"), 0o644))
	}
	return s
}

// get reads what is public.
func (b *bench) get(path string, headers ...string) (int, string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.public.URL+path, nil)
	require.NoError(b.t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return b.do(http.DefaultClient, r)
}

// ask speaks TLS as a node does: with the pin alone.
func (b *bench) ask(method, path, word string, body any) (int, string) {
	b.t.Helper()
	data, err := json.Marshal(body)
	require.NoError(b.t, err)
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.secure.URL+path, bytes.NewReader(data))
	require.NoError(b.t, err)
	if word != "" {
		r.Header.Set("Authorization", "Bearer "+word)
	}
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: protocol.Pinned(b.pin, "127.0.0.1"), DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return b.do(client, r)
}

func (b *bench) do(client *http.Client, r *http.Request) (int, string) {
	b.t.Helper()
	response, err := client.Do(r)
	require.NoError(b.t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	require.NoError(b.t, err)
	return response.StatusCode, string(data)
}

func (b *bench) nonce(node string) string {
	b.t.Helper()
	n, err := b.Store.Node(node)
	require.NoError(b.t, err)
	return n.Nonce
}

func (b *bench) row(node string) NodeView {
	b.t.Helper()
	v, err := b.View()
	require.NoError(b.t, err)
	for _, n := range v.Nodes {
		if n.Name == node {
			return n
		}
	}
	require.Fail(b.t, "no node "+node)
	return NodeView{}
}

// install takes a node to its disk.
func (b *bench) install(node string) protocol.Order {
	b.t.Helper()
	nonce := b.nonce(node)
	status, body := b.ask("GET", "/v1/nodes/"+node+"/order", nonce, nil)
	require.Equal(b.t, 200, status, body)
	order, err := protocol.OpenOrder([]byte(body))
	require.NoError(b.t, err)
	for _, p := range []protocol.Progress{
		{Step: protocol.StepWriting, Total: 100}, {Step: protocol.StepWriting, Bytes: 50, Total: 100},
		{Step: protocol.StepInstalled, Plan: "plan-" + order.Role},
	} {
		status, body := b.ask("POST", "/v1/nodes/"+node+"/install", nonce, p)
		require.Equal(b.t, 200, status, body)
	}
	return order
}

func TestAKnownMachineGetsTheInstallerOnce(t *testing.T) {
	b := newBench(t)
	status, script := b.get("/boot/52-54-00-77-00-31.ipxe")
	require.Equal(t, 200, status)
	for _, part := range []string{
		"#!ipxe\n", "kernel http://127.0.0.1:8080/images/worker.efi console=ttyS0 rd.systemd.unit=imgbuild-install.target ",
		"kernel http://127.0.0.1:8080/images/worker.linux", "imgbuild.nonce=" + b.nonce("worker-1"), "imgbuild.ca=" + b.pin,
		"imgbuild.mac=52:54:00:77:00:31", "imgbuild.address=10.77.0.31/24", "chain --replace http://127.0.0.1:8080/boot/52-54-00-77-00-31.ipxe",
	} {
		assert.Contains(t, script, part)
	}
	assert.NotContains(t, script, "roothash=", "the installer has no root")
	assert.Equal(t, state.Discovered, b.row("worker-1").Stage)

	order := b.install("worker-1")
	assert.Equal(t, "http://127.0.0.1:8080/images/worker.raw.zst", order.Image)
	assert.Equal(t, state.Installed, b.row("worker-1").Stage)
	_, script = b.get("/boot/52-54-00-77-00-31.ipxe")
	assert.Contains(t, script, "\nexit 1\n")
	assert.NotContains(t, script, "imgbuild-install.target")
	assert.Contains(t, script, "worker.linux root=/dev/mapper/root ro console=ttyS0 roothash=abc initrd=worker.initrd", "a BIOS needs the kernel from here")

	b.restart()
	_, script = b.get("/boot/52-54-00-77-00-31.ipxe")
	assert.NotContains(t, script, "imgbuild-install.target", "the server remembers")
	status, body := b.ask("GET", "/v1/nodes/worker-1/order", b.nonce("worker-1"), nil)
	assert.Equal(t, 409, status)
	assert.Contains(t, body, "imgbuild reinstall")
}

func TestAStrangerIsListedAndLeftAlone(t *testing.T) {
	b := newBench(t)
	status, script := b.get("/boot/52-54-00-77-00-99.ipxe")
	assert.Equal(t, 200, status)
	assert.Contains(t, script, "52:54:00:77:00:99 is not in cluster.yaml")
	assert.NotContains(t, script, "kernel")
	v, err := b.View()
	require.NoError(t, err)
	require.Len(t, v.Strangers, 1)
	status, _ = b.get("/boot/" + strings.Repeat("a", 300) + ".ipxe")
	assert.Equal(t, 404, status)
}

func TestANodeThatIsNotServed(t *testing.T) {
	b := newBench(t)
	b.Nodes = []string{"master-1"}
	_, script := b.get("/boot/52-54-00-77-00-31.ipxe")
	assert.Contains(t, script, "this server installs other nodes than worker-1")
	assert.NotContains(t, script, "kernel")
	status, _ := b.ask("GET", "/v1/nodes/worker-1/order", b.nonce("worker-1"), nil)
	assert.Equal(t, 409, status)
	assert.Equal(t, state.Waiting, b.row("worker-1").Stage)
}

func TestImages(t *testing.T) {
	b := newBench(t)
	status, body := b.get("/images/worker.raw.zst", "Range", "bytes=3-")
	assert.Equal(t, 206, status)
	assert.Equal(t, "45", body)
	_, text := b.get("/images/worker.json")
	_, signature := b.get("/images/worker.json.sig")
	m, err := protocol.OpenManifest([]byte(text), signature, b.publicKey())
	require.NoError(t, err)
	assert.Equal(t, "plan-worker", m.Plan)
	_, err = protocol.OpenManifest([]byte(strings.Replace(text, "plan-worker", "plan-forged", 1)), signature, b.publicKey())
	assert.ErrorContains(t, err, "signature")
	for _, path := range []string{"/images/worker.cmdline", "/images/../state.db", "/images/lb.raw.zst", "/ipxe/ipxe.lkrn", "/images/worker"} {
		status, _ := b.get(path)
		assert.Equal(t, 404, status, path)
	}
}

// What a machine gets before it claims holds no secret.
func TestTheOrderHoldsNoSecret(t *testing.T) {
	b := newBench(t)
	for _, node := range []string{"master-1", "worker-1"} {
		order := b.install(node)
		n, _ := b.Cluster.Node(node)
		data, err := ignition.Bundle(b.Cluster, n, b.Secrets)
		require.NoError(t, err)
		bundle, err := protocol.OpenBundle(data, node)
		require.NoError(t, err)
		require.NotEmpty(t, bundle.Files)
		for _, f := range bundle.Files {
			assert.NotContains(t, string(order.Ignition), strings.TrimSpace(f.Text), f.Path)
		}
		assert.Contains(t, string(order.Ignition), "claim.json")
		assert.NotContains(t, string(order.Ignition), "PRIVATE")
	}
}

func claimWith(t *testing.T, b *bench, identity *age.X25519Identity) (int, string) {
	t.Helper()
	return b.ask("POST", "/v1/nodes/worker-1/claim", "", protocol.Claim{Nonce: b.nonce("worker-1"), Recipient: identity.Recipient().String()})
}

func TestSecretsAreClaimedOnce(t *testing.T) {
	b := newBench(t)
	b.install("worker-1")
	mine, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	other, err := age.GenerateX25519Identity()
	require.NoError(t, err)

	status, body := b.ask("POST", "/v1/nodes/worker-1/claim", "", protocol.Claim{Nonce: "guess", Recipient: mine.Recipient().String()})
	assert.Equal(t, 403, status, body)
	status, body = claimWith(t, b, mine)
	require.Equal(t, 200, status, body)
	var answer protocol.Claimed
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	assert.NotContains(t, body, "CERTIFICATE", "it is sealed")
	plain, err := age.Decrypt(armor.NewReader(strings.NewReader(answer.Bundle)), mine)
	require.NoError(t, err)
	data, err := io.ReadAll(plain)
	require.NoError(t, err)
	bundle, err := protocol.OpenBundle(data, "worker-1")
	require.NoError(t, err)
	token := ""
	for _, f := range bundle.Files {
		if f.Path == "/etc/imgbuild/report-token" {
			token = strings.TrimSpace(f.Text)
		}
	}
	require.NotEmpty(t, token)

	b.restart()
	status, _ = claimWith(t, b, mine)
	assert.Equal(t, 200, status, "the same key, also after the server was killed")
	status, body = claimWith(t, b, other)
	assert.Equal(t, 410, status)
	assert.Contains(t, body, "imgbuild reissue worker-1")
	assert.NotContains(t, body, "BEGIN AGE")
	require.Len(t, b.row("worker-1").Alarms, 2, "the guess and the second key")

	// Ready takes the word that was in the bundle.
	ready := protocol.AgentStatus{State: "ready", Phase: "node"}
	status, _ = b.ask("POST", "/v1/nodes/worker-1/status", "guess", ready)
	assert.Equal(t, 403, status)
	status, _ = b.ask("POST", "/v1/nodes/worker-1/status", b.nonce("worker-1"), ready)
	assert.Equal(t, 200, status)
	assert.Equal(t, state.Claimed, b.row("worker-1").Stage, "the nonce was on the wire")
	status, _ = b.ask("POST", "/v1/nodes/worker-1/status", token, ready)
	assert.Equal(t, 200, status)
	assert.Equal(t, state.Ready, b.row("worker-1").Stage)
	status, _ = claimWith(t, b, mine)
	assert.Equal(t, 410, status, "the bundle is destroyed once the node is ready")
}

// Nothing that the server writes holds what a node may claim.
func TestTheServersDiskHasNoSecret(t *testing.T) {
	b := newBench(t)
	b.install("master-1")
	identity, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	status, _ := b.ask("POST", "/v1/nodes/master-1/claim", "", protocol.Claim{Nonce: b.nonce("master-1"), Recipient: identity.Recipient().String()})
	require.Equal(t, 200, status)
	n, _ := b.Cluster.Node("master-1")
	data, err := ignition.Bundle(b.Cluster, n, b.Secrets)
	require.NoError(t, err)
	bundle, err := protocol.OpenBundle(data, "master-1")
	require.NoError(t, err)
	db, err := os.ReadFile(filepath.Join(b.dir, "state.db"))
	require.NoError(t, err)
	for _, f := range bundle.Files {
		assert.False(t, bytes.Contains(db, []byte(strings.TrimSpace(f.Text))), f.Path)
	}
}

func TestTheInstallersWordsAreShown(t *testing.T) {
	b := newBench(t)
	nonce := b.nonce("worker-1")
	status, _ := b.ask("POST", "/v1/nodes/worker-1/install", "guess", protocol.Progress{Step: protocol.StepWriting})
	assert.Equal(t, 403, status)
	_, _ = b.ask("GET", "/v1/nodes/worker-1/order", nonce, nil)
	status, _ = b.ask("POST", "/v1/nodes/worker-1/install", nonce, protocol.Progress{Step: protocol.StepRefused, Line: "/dev/sda holds ext4 (payroll)\x1b[2J"})
	assert.Equal(t, 200, status)
	row := b.row("worker-1")
	assert.Equal(t, "/dev/sda holds ext4 (payroll) [2J", row.Line)
	require.Len(t, row.Alarms, 1)
	status, _ = b.ask("POST", "/v1/nodes/worker-1/install", nonce, protocol.Progress{Step: protocol.StepInstalled, Plan: "p"})
	assert.Equal(t, 200, status)
	status, _ = b.ask("POST", "/v1/nodes/nobody/install", nonce, protocol.Progress{})
	assert.Equal(t, 404, status)
	status, _ = b.ask("POST", "/v1/nodes/worker-1/claim", "", map[string]any{"nonce": 1})
	assert.Equal(t, 400, status)
}

func TestWhoMayLook(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/", "/app.js", "/v1/status", "/v1/events", "/metrics"} {
		status, _ := b.ask("GET", path, "", nil)
		assert.Equal(t, 403, status, path)
	}
	for _, path := range []string{"/", "/app.js", "/style.css", "/v1/status", "/metrics"} {
		status, _ := b.ask("GET", path, "look", nil)
		assert.Equal(t, 200, status, path)
	}
	status, _ := b.ask("GET", "/login?token=guess", "", nil)
	assert.Equal(t, 403, status)
	status, _ = b.ask("GET", "/login?token=look", "", nil)
	assert.Equal(t, 303, status)
	_, metrics := b.ask("GET", "/metrics", "look", nil)
	assert.Contains(t, metrics, `imgbuild_nodes{stage="waiting"} 2`)
	// Over the network nobody changes anything.
	for _, verb := range []string{"reinstall", "reissue"} {
		status, _ := b.ask("POST", "/v1/nodes/worker-1/"+verb, "look", nil)
		assert.Contains(t, []int{404, 405}, status)
	}
}

func TestCommandsOnTheMachine(t *testing.T) {
	b := newBench(t)
	b.install("worker-1")
	local := httptest.NewServer(b.localHandler())
	defer local.Close()
	post := func(path string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, local.URL+path, nil)
		require.NoError(t, err)
		return b.do(http.DefaultClient, r)
	}
	was := b.nonce("worker-1")
	status, body := post("/v1/nodes/worker-1/reinstall")
	require.Equal(t, 200, status, body)
	assert.NotEqual(t, was, b.nonce("worker-1"))
	_, script := b.get("/boot/52-54-00-77-00-31.ipxe")
	assert.Contains(t, script, "imgbuild-install.target")
	order := b.install("worker-1")
	assert.True(t, order.Overwrite)
	_, script = b.get("/boot/52-54-00-77-00-31.ipxe")
	assert.NotContains(t, script, "imgbuild-install.target", "once")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, local.URL+"/v1/nodes/worker-1/config", nil)
	require.NoError(t, err)
	status, body = b.do(http.DefaultClient, r)
	assert.Equal(t, 200, status)
	assert.Contains(t, body, "claim.json", "a config for a cloud")
	status, body = post("/v1/nodes/nobody/reissue")
	assert.Equal(t, 404, status, body)
	status, body = post("/v1/nodes/master-1/reissue")
	assert.Equal(t, 409, status, body)
}

func TestEventsFollowEveryChange(t *testing.T) {
	b := newBench(t)
	local := httptest.NewServer(b.localHandler())
	defer local.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, local.URL+"/v1/events", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	events := bufio.NewReader(response.Body)
	next := func() View {
		for {
			line, err := events.ReadString('\n')
			require.NoError(t, err)
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				var v View
				require.NoError(t, json.Unmarshal([]byte(data), &v))
				return v
			}
		}
	}
	require.Equal(t, state.Waiting, next().Nodes[0].Stage)
	b.install("master-1")
	for next().Nodes[0].Stage != state.Installed {
	}
}

func TestImageURL(t *testing.T) {
	m := protocol.Manifest{Role: "worker", SHA256: "abc"}
	for base, want := range map[string]string{
		"":                         "http://own/images/worker.raw.zst",
		"https://store/os/":        "https://store/os/worker.raw.zst",
		"https://store/os/{role}z": "https://store/os/workerz",
		"https://registry/v2/os/blobs/sha256:{sha256}": "https://registry/v2/os/blobs/sha256:abc",
	} {
		assert.Equal(t, want, imageURL(base, "http://own/images", m))
	}
}

// FuzzRequests: whatever is posted is answered, and gives nothing away.
func FuzzRequests(f *testing.F) {
	f.Add("claim", []byte(`{"nonce":"x","recipient":"age1x"}`))
	f.Add("status", []byte(`{"state":"ready","phases":[{"name":"x","seconds":1e300}]}`))
	f.Add("install", []byte(`{"step":"writing","bytes":-1,"total":0}`))
	server := newBench(f).secureHandler()
	f.Fuzz(func(t *testing.T, what string, body []byte) {
		for _, word := range []string{"", "guess"} {
			r := httptest.NewRequest(http.MethodPost, "https://127.0.0.1/v1/nodes/worker-1/x", bytes.NewReader(body))
			r.URL.Path = "/v1/nodes/worker-1/" + what
			r.Header.Set("Authorization", "Bearer "+word)
			w := httptest.NewRecorder()
			server.ServeHTTP(w, r)
			require.NotEqual(t, 200, w.Code, "nobody knows the nonce")
			require.NotEqual(t, 500, w.Code)
			require.NotContains(t, w.Body.String(), "BEGIN AGE")
		}
	})
}
