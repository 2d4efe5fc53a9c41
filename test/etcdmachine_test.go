package test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	contract "imgbuild/cluster/node"
	"imgbuild/firstboot"
)

// etcdMachine is a machine of the role etcd in a directory: the agent and etcd
// are the real ones, systemd is not.
type etcdMachine struct {
	t        *testing.T
	peer     contract.Peer
	bin      string
	root     string
	loopback string
	pki      *etcdPKI
	console  lines
	process  *exec.Cmd
	ended    chan struct{}
}

// lines are what an agent says while a test reads them.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

// newEtcdMachine is one with an empty disk.
func newEtcdMachine(t *testing.T, bin string, pki *etcdPKI, peer contract.Peer) *etcdMachine {
	t.Helper()
	e := &etcdMachine{t: t, peer: peer, bin: bin, pki: pki, loopback: strings.Replace(peer.Address, "127.77.0.", "127.77.1.", 1)}
	t.Cleanup(e.cut)
	e.reimage()
	return e
}

// reimage gives the machine a fresh disk with what Ignition writes.
func (e *etcdMachine) reimage() {
	e.t.Helper()
	e.cut()
	e.root = e.t.TempDir()
	n := contract.Node{
		Version: contract.Version, Cluster: "demo", Name: e.peer.Name, Role: "etcd", Address: e.peer.Address, MAC: "52:54:00:77:00:31",
		Topology: "external-etcd", Endpoint: contract.Endpoint{Host: "127.77.0.10", Port: 6443},
		Kubernetes: contract.Kubernetes{Version: "v1.36.3", PodSubnet: "10.244.0.0/16", ServiceSubnet: "10.96.0.0/12", DNSDomain: "cluster.local", CNI: "flannel"},
		Masters:    []contract.Peer{{Name: "master-1", Address: "127.77.0.11"}}, Etcd: etcdPeers,
		CAHash: "sha256:" + strings.Repeat("ab", 32), NotBefore: "2026-01-01T00:00:00Z",
		Timeouts: contract.Timeouts{API: "10m", Etcd: "10m"},
	}
	for name, text := range e.pki.files(e.t, e.peer.Address, e.loopback) {
		n.Secrets = append(n.Secrets, contract.EtcdPKI+"/"+name)
		e.write(contract.EtcdPKI+"/"+name, text)
	}
	e.write(contract.Path, toJSON(e.t, n))
	e.write(contract.ImagePath, toJSON(e.t, contract.Image{Role: "etcd", Plan: strings.Repeat("cd", 32), Base: "debian-13", Components: map[string]string{"etcd": "v3.6.8"}}))
	e.write("/proc/self/mountinfo", "30 1 252:5 / /run/imgbuild/state rw - ext4 a rw\n31 1 252:5 /var /var rw - ext4 a rw\n")
	e.write("/proc/uptime", "30.00 0.00\n")
}

func (e *etcdMachine) write(name, text string) {
	e.t.Helper()
	file := filepath.Join(e.root, name)
	require.NoError(e.t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(e.t, os.WriteFile(file, []byte(text), 0o600))
}

// boot runs the agent until the node is ready.
func (e *etcdMachine) boot(ctx context.Context) error {
	e.console.reset()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return firstboot.Run(ctx, &firstboot.Host{
		Root: e.root, Out: new(bytes.Buffer), Console: &e.console, Execute: e.execute,
		Dial:     new(net.Dialer).DialContext,
		Hostname: func() (string, error) { return e.peer.Name, nil },
		Interfaces: func() ([]firstboot.Interface, error) {
			return []firstboot.Interface{{Name: "lo", MAC: "52:54:00:77:00:31", Addresses: []string{e.peer.Address}}}, nil
		},
		Now: time.Now,
		Sleep: func(ctx context.Context, d time.Duration) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(min(d, 300*time.Millisecond)): // this is no emulated machine
				return nil
			}
		},
		Jitter: func() float64 { return 0.5 },
		Sync:   func() {},
	}, "test")
}

// mustBoot wants the node to be ready.
func (e *etcdMachine) mustBoot() {
	e.t.Helper()
	require.NoError(e.t, e.boot(e.t.Context()), e.console.String())
	require.Contains(e.t, e.console.String(), "imgbuild: ready (up ")
}

// execute is what systemd would do with etcd.service.
func (e *etcdMachine) execute(_ context.Context, c firstboot.Command) error {
	switch line := c.String(); line {
	case "systemctl is-active --quiet etcd.service":
		if !e.runs() {
			return fmt.Errorf("exit status 3")
		}
		return nil
	case "systemctl restart etcd.service":
		e.cut()
		return e.start()
	case "systemctl start etcd.service":
		if e.runs() {
			return nil
		}
		return e.start()
	default:
		return fmt.Errorf("%s: not found", line)
	}
}

// start runs etcd with the agent's configuration: the paths and the loopback of
// this machine are put in, nothing else is changed.
func (e *etcdMachine) start() error {
	config, err := os.ReadFile(filepath.Join(e.root, "/etc/etcd/etcd.yaml"))
	if err != nil {
		return err
	}
	text := strings.NewReplacer(": /etc/etcd", ": "+e.root+"/etc/etcd", ": /var/lib/etcd", ": "+e.root+"/var/lib/etcd", "127.0.0.1:", e.loopback+":").Replace(string(config))
	e.write("/run/etcd.yaml", text)
	log, err := os.OpenFile(filepath.Join(e.root, "etcd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	process := exec.Command(filepath.Join(e.bin, "etcd"), "--config-file", filepath.Join(e.root, "run/etcd.yaml"))
	process.Stdout, process.Stderr = log, log
	if err := os.MkdirAll(filepath.Join(e.root, "var/lib/etcd"), 0o700); err != nil {
		return err
	}
	if err := process.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		process.Wait()
		close(ended)
	}()
	e.process, e.ended = process, ended
	return nil
}

func (e *etcdMachine) runs() bool {
	if e.process == nil {
		return false
	}
	select {
	case <-e.ended:
		return false
	default:
		return true
	}
}

// cut is a power cut.
func (e *etcdMachine) cut() {
	if e.runs() {
		e.process.Process.Kill()
		<-e.ended
	}
}

// etcdctl asks this machine's member.
func (e *etcdMachine) etcdctl(args ...string) (string, error) {
	pki := filepath.Join(e.root, contract.EtcdPKI)
	cmd := exec.CommandContext(e.t.Context(), filepath.Join(e.bin, "etcdctl"), append([]string{
		"--endpoints", "https://" + e.loopback + ":2379", "--cacert", pki + "/ca.crt", "--cert", pki + "/server.crt", "--key", pki + "/server.key",
	}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (e *etcdMachine) ctl(args ...string) string {
	e.t.Helper()
	out, err := e.etcdctl(args...)
	require.NoError(e.t, err, "etcdctl %s: %s", strings.Join(args, " "), out)
	return out
}
