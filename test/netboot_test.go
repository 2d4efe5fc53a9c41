package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/manifest"
	"imgbuild/cluster"
	contract "imgbuild/cluster/node"
	"imgbuild/ignition"
	"imgbuild/netboot"
	"imgbuild/protocol"
)

// server is imgbuild serve in the lab's network.
type server struct {
	w   *ha
	cmd *exec.Cmd
	log *lines
}

// serve starts it in the lab's network.
func (w *ha) serve(args ...string) *server {
	w.t.Helper()
	return w.startServer(append([]string{filepath.Join(w.dir, "imgbuild"), "-v", "-c", filepath.Join(w.dir, "cluster.yaml"), "lab", "serve", "--images", w.images}, args...)...)
}

// startServer returns once it serves.
func (w *ha) startServer(argv ...string) *server {
	w.t.Helper()
	s := &server{w: w, log: &lines{}}
	s.cmd = exec.Command(argv[0], argv[1:]...)
	s.cmd.Env = append(os.Environ(), "IMGBUILD_AGE_IDENTITY="+filepath.Join(w.dir, "identity.txt"))
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	require.NoError(w.t, s.cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	w.t.Cleanup(func() {
		s.kill()
		if w.t.Failed() {
			w.t.Log("the end of what the server said:\n" + tail(s.log.String(), 60))
		}
	})
	var over error
	require.Eventually(w.t, func() bool {
		select {
		case err := <-ended:
			over = fmt.Errorf("the server has ended: %w: %s", err, s.log)
			return true
		default:
			return strings.Contains(s.log.String(), "serving ")
		}
	}, 5*time.Minute, 100*time.Millisecond)
	require.NoError(w.t, over)
	return s
}

// kill is kill -9. nsenter has become the server: they are one process.
func (s *server) kill() {
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
}

// view is what imgbuild status knows.
func (w *ha) view() netboot.View {
	w.t.Helper()
	var v netboot.View
	require.NoError(w.t, json.Unmarshal([]byte(w.must("status", "-o", "json")), &v))
	return v
}

func (w *ha) row(name string) netboot.NodeView {
	w.t.Helper()
	for _, n := range w.view().Nodes {
		if n.Name == name {
			return n
		}
	}
	require.FailNow(w.t, "no node "+name)
	return netboot.NodeView{}
}

// awaitRow waits until a machine is as it should be.
func (w *ha) awaitRow(name, what string, patience time.Duration, is func(netboot.NodeView) bool) netboot.NodeView {
	w.t.Helper()
	var row netboot.NodeView
	require.Eventually(w.t, func() bool { row = w.row(name); return is(row) }, patience, 2*time.Second, "%s never came to: %s", name, what)
	return row
}

// bundle is what a node claims.
func (w *ha) bundle(name string) protocol.Bundle {
	w.t.Helper()
	c, problems := cluster.Load(filepath.Join(w.dir, "cluster.yaml"))
	require.NoError(w.t, problems.Err())
	file := filepath.Join(w.dir, "cluster.yaml")
	secrets, err := ignition.Store{File: ignition.SecretsFile(file, c.Name), Identity: filepath.Join(w.dir, "identity.txt")}.Open(w.t.Context())
	require.NoError(w.t, err)
	n, ok := c.Node(name)
	require.True(w.t, ok)
	data, err := ignition.Bundle(c, n, secrets)
	require.NoError(w.t, err)
	b, err := protocol.OpenBundle(data, name)
	require.NoError(w.t, err)
	return b
}

// secretLines are all that may never be seen on the wire: every line of a secret
// file, but for public certificates and the balancers' password. That one is in
// every packet of VRRP in the clear, which is how that protocol is.
func (w *ha) secretLines(name string) []string {
	var list []string
	for _, f := range w.bundle(name).Files {
		if strings.HasSuffix(f.Path, ".crt") || strings.HasSuffix(f.Path, ".pub") || f.Path == contract.VRRPPath {
			continue
		}
		for line := range strings.Lines(f.Text) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "-----") {
				list = append(list, line)
			}
		}
	}
	return list
}

// inNetwork runs a program in the lab's network.
func (w *ha) inNetwork(args ...string) string {
	w.t.Helper()
	return output(w.t, append([]string{"ip", "netns", "exec", "imgbuild-" + w.name}, args...)...)
}

// capture writes down everything on the bridge until the returned function is
// called, which gives the file.
func (w *ha) capture() func() []byte {
	w.t.Helper()
	file := filepath.Join(w.dir, "captured.pcap")
	// Whatever is not the content of images: they are public, and gigabytes.
	cmd := exec.Command("ip", "netns", "exec", "imgbuild-"+w.name, "tcpdump", "-i", "br0", "-s", "0", "-U", "-w", file, "not", "src", "port", "8080")
	var said bytes.Buffer
	cmd.Stderr = &said
	require.NoError(w.t, cmd.Start())
	stop := func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	w.t.Cleanup(stop)
	return func() []byte {
		stop()
		data, err := os.ReadFile(file)
		require.NoError(w.t, err, said.String())
		return data
	}
}

// claimAgain asks for a node's secrets with a key of somebody else.
func (w *ha) claimAgain(name string) string {
	w.t.Helper()
	config := w.ssh(name, "cat /etc/imgbuild/claim.json")
	var c struct{ Server, Nonce string }
	require.NoError(w.t, json.Unmarshal([]byte(config), &c))
	other, err := age.GenerateX25519Identity()
	require.NoError(w.t, err)
	body, err := json.Marshal(protocol.Claim{Nonce: c.Nonce, Recipient: other.Recipient().String()})
	require.NoError(w.t, err)
	return w.inNetwork("curl", "-sk", "-w", " %{http_code}", "-d", string(body), c.Server+"/v1/nodes/"+name+"/claim")
}

// newBalancer makes the image of a balancer, which needs nobody else; the cluster's
// masters are never turned on. more are lines of cluster.yaml.
func newBalancer(t *testing.T, more string) *ha {
	t.Helper()
	if os.Getenv("IMGBUILD_TEST_ROOT") == "" {
		t.Skip("builds and boots an image: set IMGBUILD_TEST_ROOT=1")
	}
	return newMachines(t, "stacked", more, []string{"lb"}, machine{"lb-1", "lb", 21},
		machine{"master-1", "master", 11}, machine{"master-2", "master", 12}, machine{"master-3", "master", 13})
}

// TestAMachineInstallsItself takes a balancer, which needs nobody else, from an
// empty disk to ready. Its image comes from a web server that nobody trusts, and that
// has a wrong one at first.
func TestAMachineInstallsItself(t *testing.T) {
	w := newBalancer(t, "images: {baseURL: \"http://10.77.0.254:9090/os\"}\n")
	s := w.serve("lb-1")
	whole, err := os.ReadFile(w.served("lb"))
	require.NoError(t, err)
	spoilt := bytes.Clone(whole)
	spoilt[len(spoilt)/2] ^= 1
	image := w.nginx("os/lb.raw.zst", "10.77.0.254:9090")
	require.NoError(t, os.WriteFile(image, spoilt, 0o644))

	w.must("lab", "start", "lb-1", "--netboot")
	row := w.awaitRow("lb-1", "a refused image", 10*time.Minute, func(n netboot.NodeView) bool { return n.Step == protocol.StepRefused })
	assert.Contains(t, row.Line, "is not the one of its manifest")
	require.NotEmpty(t, row.Alarms)
	require.NoError(t, os.WriteFile(image, whole[:len(whole)-1000], 0o644))
	_, from := w.awaitOf("lb-1", 0, `imgbuild: install: refused \(the served image is not the one of its manifest: [^\n]*the manifest says \d+`, 10*time.Minute)
	w.must("lab", "kill", "lb-1")

	t.Log("turned on again, it starts the installer again: nothing on its disk starts")
	require.NoError(t, os.WriteFile(image, whole, 0o644))
	w.must("lab", "start", "lb-1", "--netboot")
	w.awaitOf("lb-1", from, `imgbuild: install: writing `, 10*time.Minute)
	s.kill()
	w.awaitOf("lb-1", from, `waiting for the server to hear that it is installed`, 10*time.Minute)
	s = w.serve("lb-1")
	w.awaitOf("lb-1", from, `imgbuild: platform: metal, with the config of the installation`, 10*time.Minute)
	s.kill()
	w.awaitOf("lb-1", from, `imgbuild: phase claim retry \(claiming the secrets of lb-1 `, 10*time.Minute)
	w.serve("lb-1")
	w.awaitOf("lb-1", from, `imgbuild: ready `, 10*time.Minute)
	row = w.awaitRow("lb-1", "ready", time.Minute, func(n netboot.NodeView) bool { return n.Stage == "ready" })
	assert.Equal(t, 1, row.Installs)

	answer := w.claimAgain("lb-1")
	assert.Contains(t, answer, " 410")
	assert.NotContains(t, answer, "BEGIN AGE")
	assert.Contains(t, w.must("status"), "asked for the secrets after the node was ready")

	t.Log("turned on again, it starts its disk")
	w.must("lab", "kill", "lb-1")
	from = len(w.consoleOf("lb-1"))
	w.must("lab", "start", "lb-1", "--netboot")
	w.awaitOf("lb-1", from, `imgbuild: ready `, 10*time.Minute)
	assert.Contains(t, w.consoleOf("lb-1")[from:], "Ignition has run before")
	assert.NotContains(t, w.consoleOf("lb-1")[from:], "imgbuild: install:")
	assert.Equal(t, 1, w.row("lb-1").Installs)
}

// nginx serves a folder in the lab's network, and returns the path of a file in it.
func (w *ha) nginx(file, listen string) string {
	w.t.Helper()
	dir := filepath.Join(w.dir, "nginx")
	path := filepath.Join(dir, file)
	require.NoError(w.t, os.MkdirAll(filepath.Dir(path), 0o755))
	config := fmt.Sprintf("daemon off; worker_processes 1; user root; pid %[1]s/pid; error_log stderr;\n"+
		"events {}\nhttp { access_log off; sendfile on; server { listen %[2]s; root %[1]s; } }\n", dir, listen)
	require.NoError(w.t, os.WriteFile(filepath.Join(dir, "conf"), []byte(config), 0o644))
	cmd := exec.Command("ip", "netns", "exec", "imgbuild-"+w.name, "nginx", "-c", filepath.Join(dir, "conf"))
	said := &lines{}
	cmd.Stderr = said
	require.NoError(w.t, cmd.Start())
	w.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	require.Eventually(w.t, func() bool {
		_, err := os.Stat(filepath.Join(dir, "pid"))
		return err == nil
	}, time.Minute, 50*time.Millisecond, said.String())
	return path
}

// served is the path of a role's compressed image in the cache: the one that was made
// of the image of this test.
func (w *ha) served(role string) string {
	w.t.Helper()
	m, err := manifest.Read(manifest.File(w.images, role))
	require.NoError(w.t, err)
	found, err := filepath.Glob(filepath.Join(w.cache, "netboot", "*", role+".json"))
	require.NoError(w.t, err)
	for _, file := range found {
		text, err := os.ReadFile(file)
		require.NoError(w.t, err)
		if strings.Contains(string(text), m.Plan) {
			return strings.TrimSuffix(file, ".json") + ".raw.zst"
		}
	}
	require.FailNow(w.t, "the cache has no compressed image of role "+role)
	return ""
}

// TestBareMetal forms a cluster of machines with empty disks, while the server and
// the network are taken away.
func TestBareMetal(t *testing.T) {
	w := newHA(t, "stacked", machine{"lb-1", "lb", 21}, machine{"master-1", "master", 11},
		machine{"master-2", "master", 12}, machine{"master-3", "master", 13}, machine{"worker-1", "worker", 31})
	nodes := []string{"lb-1", "master-1", "worker-1"}
	s := w.serve(nodes...)
	captured := w.capture()

	for _, name := range nodes {
		w.must("lab", "start", name, "--netboot")
		w.awaitRow(name, "writing", 15*time.Minute, func(n netboot.NodeView) bool { return n.Step == protocol.StepWriting && n.Bytes > 0 })
		switch name {
		case "master-1":
			t.Log("the server is killed while the master installs")
			s.kill()
			w.awaitOf(name, 0, `goes on in|waiting for the server`, 5*time.Minute)
			s = w.serve(nodes...)
		case "worker-1":
			t.Log("the worker's network is cut for a minute")
			tap := "t" + strings.ReplaceAll(machine{number: 31}.mac(), ":", "")
			w.inNetwork("ip", "link", "set", "dev", tap, "down")
			time.Sleep(time.Minute) // the length of the cut is the test
			w.inNetwork("ip", "link", "set", "dev", tap, "up")
		}
		w.awaitOf(name, 0, `imgbuild: install: `+name+` is installed on `, 15*time.Minute)
		if name == "master-1" {
			t.Log("the server is killed before the master claims")
			w.awaitOf(name, 0, `imgbuild: platform: metal, with the config of the installation`, 10*time.Minute)
			s.kill()
			w.awaitOf(name, 0, `imgbuild: phase claim retry `, 10*time.Minute)
			s = w.serve(nodes...)
		}
		w.awaitOf(name, 0, `imgbuild: agent start `, 15*time.Minute)
	}
	assert.NotContains(t, w.consoleOf("worker-1"), "install: retry", "it resumed, and did not begin anew")
	w.must("lab", "up", "--netboot", "--nodes", strings.Join(nodes, ","), "--timeout", "60m")
	for _, name := range nodes {
		row := w.awaitRow(name, "ready", 2*time.Minute, func(n netboot.NodeView) bool { return n.Stage == "ready" })
		assert.Equal(t, 1, row.Installs)
		t.Logf("%s: installed after %s, ready after %s", name, row.Reached["installed"].Sub(row.Reached["discovered"]).Round(time.Second),
			row.Reached["ready"].Sub(row.Reached["discovered"]).Round(time.Second))
	}
	assert.Equal(t, "True True", w.kubectl("get", "nodes", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`))

	answer := w.claimAgain("worker-1")
	assert.Contains(t, answer, " 410")
	assert.NotEmpty(t, w.row("worker-1").Alarms)

	traffic := captured()
	require.Greater(t, len(traffic), 1<<20)
	for _, name := range nodes {
		for i, line := range w.secretLines(name) {
			assert.False(t, bytes.Contains(traffic, []byte(line)), "line %d of the secrets of %s is in the traffic", i, name)
		}
	}
	t.Logf("%d bytes of traffic without a line of a secret", len(traffic))
}
