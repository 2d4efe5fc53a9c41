package firstboot

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run the test with -update")
	assert.Equal(t, string(want), got)
}

const (
	testAddress = "10.77.0.11"
	testBootID  = "3d2b9c52-1111-4222-8333-944455556666"
	testImage   = "registry.k8s.io/coredns/coredns:v1.14.2"
)

// testNode is a valid identity.
func testNode() node.Node {
	return node.Node{
		Version: node.Version, Cluster: "demo", Name: "master-1", Role: "master",
		Address: testAddress, MAC: "52:54:00:77:00:11", InitMaster: true, Topology: "single",
		Endpoint: node.Endpoint{Host: testAddress, Port: 6443},
		Kubernetes: node.Kubernetes{
			Version: "v1.36.3", PodSubnet: "10.244.0.0/16", ServiceSubnet: "10.96.0.0/12",
			DNSDomain: "cluster.local", CNI: "flannel",
		},
		CAHash:    "sha256:" + strings.Repeat("ab", 32),
		NotBefore: "2026-11-22T00:00:00Z",
		Secrets:   []string{pki + "/ca.crt", pki + "/ca.key", pki + "/front-proxy-ca.crt", pki + "/front-proxy-ca.key", pki + "/etcd/ca.crt", pki + "/etcd/ca.key"},
		Masters:   []node.Peer{{Name: "master-1", Address: testAddress}},
		Timeouts:  node.Timeouts{API: "10m", Etcd: "10m"},
	}
}

func testImageFile() node.Image {
	return node.Image{
		Role: "master", Plan: strings.Repeat("cd", 32), Base: "debian-13",
		Components: map[string]string{"kubernetes": "v1.36.3"},
		Images:     []string{testImage},
	}
}

// testStart is when the machines of tests are turned on.
func testStart() time.Time { return time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC) }

// fake is a machine in a directory, with a clock that only Sleep and the
// programs move.
type fake struct {
	t       *testing.T
	host    *Host
	root    string
	start   time.Time
	now     time.Time
	journal bytes.Buffer
	console bytes.Buffer
	// ran are the command lines; programs answer them by their first word.
	ran      []string
	programs map[string]func(c Command) error
	// dial maps an address to where it really is.
	dial map[string]string
	cas  map[string]*authority
	// node is who the machine is.
	node node.Node
}

// newFake is a machine after Ignition: identity and secrets are there, nothing
// of Kubernetes is.
func newFake(t *testing.T) *fake {
	f := &fake{t: t, root: t.TempDir(), start: testStart(), dial: map[string]string{}}
	f.now = f.start
	f.host = &Host{
		Root: f.root, Out: &f.journal, Console: &f.console,
		Execute: f.execute,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			real, ok := f.dial[address]
			if !ok {
				return nil, errors.New("connection refused")
			}
			return new(net.Dialer).DialContext(ctx, network, real)
		},
		Hostname: func() (string, error) { return f.node.Name, nil },
		Interfaces: func() ([]Interface, error) {
			return []Interface{{Name: "lo"}, {Name: "ens3", MAC: "52:54:00:77:00:11", MTU: 1500, Addresses: []string{f.node.Address}}}, nil
		},
		Now: func() time.Time { return f.now },
		Sleep: func(ctx context.Context, d time.Duration) error {
			f.advance(d)
			if f.now.Sub(f.start) > 72*time.Hour { // what it waits for never comes
				return errEnough
			}
			return ctx.Err()
		},
		Every:  func(ctx context.Context, _ time.Duration, do func(context.Context)) { do(ctx) },
		Jitter: func() float64 { return 0.5 },
		Sync:   func() {},
	}
	f.programs = map[string]func(Command) error{
		"ctr": func(c Command) error {
			if strings.HasSuffix(c.String(), "images ls -q") {
				fmt.Fprintln(c.Stdout, testImage)
			}
			return nil
		},
		"systemctl": func(Command) error { return nil },
	}
	f.advance(31200 * time.Millisecond)
	f.identity(testNode(), testImageFile())
	f.file("/proc/self/mountinfo", "30 1 252:5 / "+statePath+" rw shared:1 - ext4 /dev/vda5 rw\n31 1 252:5 /var /var rw shared:1 - ext4 /dev/vda5 rw\n")
	f.file("/proc/sys/kernel/random/boot_id", testBootID+"\n")
	f.file(containerdSocket, "")
	f.file(resolvedConf, "nameserver 10.77.0.1\n")
	f.cas = map[string]*authority{}
	for _, name := range []string{"ca", "front-proxy-ca", "etcd/ca"} {
		ca := newAuthority(t, name)
		f.cas[name] = ca
		f.file(pki+"/"+name+".crt", ca.certPEM)
		f.file(pki+"/"+name+".key", ca.keyPEM)
	}
	return f
}

// machine is the machine after the identity gate.
func (f *fake) machine() *machine {
	lines := &console{journal: f.host.Out, device: f.host.Console, uptime: f.host.uptime}
	m := &machine{host: f.host, console: lines, report: &report{host: f.host, console: lines}}
	require.NoError(f.t, m.checkIdentity(f.t.Context()))
	return m
}

func (f *fake) identity(n node.Node, i node.Image) {
	f.node = n
	f.json(node.Path, n)
	f.json(node.ImagePath, i)
}

func (f *fake) advance(d time.Duration) {
	f.now = f.now.Add(d)
	f.file("/proc/uptime", fmt.Sprintf("%.2f 0.00\n", f.now.Sub(f.start).Seconds()))
}

func (f *fake) execute(_ context.Context, c Command) error {
	f.ran = append(f.ran, strings.ReplaceAll(c.String(), f.root, ""))
	if run := f.programs[c.Name]; run != nil {
		return run(c)
	}
	return fmt.Errorf("%s: not found", c.Name)
}

// file writes a file of the machine.
func (f *fake) file(name, content string) {
	f.t.Helper()
	path := filepath.Join(f.root, name)
	require.NoError(f.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(f.t, os.WriteFile(path, []byte(content), 0o600))
}

func (f *fake) remove(name string) {
	f.t.Helper()
	require.NoError(f.t, os.RemoveAll(filepath.Join(f.root, name)))
}

// kubeadmFiles leaves what a whole kubeadm init leaves.
func (f *fake) kubeadmFiles() {
	for name, ca := range map[string]string{
		"apiserver": "ca", "apiserver-kubelet-client": "ca", "front-proxy-client": "front-proxy-ca",
		"etcd/server": "etcd/ca", "etcd/peer": "etcd/ca", "etcd/healthcheck-client": "etcd/ca", "apiserver-etcd-client": "etcd/ca",
	} {
		cert, key := f.cas[ca].issue(f.t, name)
		f.file(pki+"/"+name+".crt", cert)
		f.file(pki+"/"+name+".key", key)
	}
	for _, name := range []string{"admin", "super-admin", "kubelet", "controller-manager", "scheduler"} {
		f.file(etcKubernetes+"/"+name+".conf", f.kubeconfig(name))
	}
	for _, name := range staticPods("single") {
		f.file(manifests+"/"+name+".yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: "+name+"\nspec:\n  containers:\n  - name: "+name+"\n")
	}
	f.file(kubeletConfig, "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n")
	f.file(kubeletFlags, "KUBELET_KUBEADM_ARGS=\"\"\n")
	f.file(etcdLog+"/0.wal", "x")
}

func (f *fake) kubeconfig(name string) string {
	cert, key := f.cas["ca"].issue(f.t, name)
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: demo
  cluster:
    server: https://10.77.0.11:6443
    certificate-authority-data: %s
contexts:
- name: %[2]s@demo
  context: {cluster: demo, user: %[2]s}
current-context: %[2]s@demo
users:
- name: %[2]s
  user:
    client-certificate-data: %[3]s
    client-key-data: %[4]s
`, b64(f.cas["ca"].certPEM), name, b64(cert), b64(key))
}
