package firstboot

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
)

func TestGatesPassOnAGoodMachine(t *testing.T) {
	f := newFake(t)
	m := f.machine()
	for _, g := range append(m.gates(), m.containerGates()...) {
		done, err := g.Done(t.Context())
		require.NoError(t, err, g.Name)
		assert.True(t, done, g.Name)
	}
	assert.Equal(t, []string{
		"ctr --address /run/containerd/containerd.sock version",
		"ctr --address /run/containerd/containerd.sock --namespace k8s.io images ls -q",
	}, f.ran)
}

func TestGatesRefuse(t *testing.T) {
	for _, c := range []struct {
		gate, name string
		spoil      func(f *fake)
		want       string
		stop       bool
	}{
		{"identity", "no node.json", func(f *fake) { f.remove("/etc/imgbuild/node.json") }, "without an Ignition config", true},
		{"identity", "empty node.json", func(f *fake) { f.file("/etc/imgbuild/node.json", "") }, "node.json is not valid", true},
		{"identity", "invalid node.json", func(f *fake) { n := testNode(); n.Address = "x"; f.identity(n, testImageFile()) }, "address", true},
		{"identity", "no image.json", func(f *fake) { f.remove("/usr/lib/imgbuild/image.json") }, "not an image of imgbuild", true},
		{"identity", "another role", func(f *fake) { i := testImageFile(); i.Role = "worker"; f.identity(testNode(), i) }, "the role master, but the image is for worker", true},
		{"identity", "another version", func(f *fake) { i := testImageFile(); i.Components["kubernetes"] = "v1.35.0"; f.identity(testNode(), i) }, "Kubernetes v1.36.3, but the image has v1.35.0", true},
		{"identity", "no Kubernetes", func(f *fake) { i := testImageFile(); i.Components = nil; f.identity(testNode(), i) }, "but the image has none", true},
		{"secrets", "missing", func(f *fake) { f.remove(pki + "/ca.key") }, "secret /etc/kubernetes/pki/ca.key is missing", true},
		{"secrets", "empty", func(f *fake) { f.file(pki+"/ca.key", "\n") }, "ca.key is empty", true},
		{"secrets", "garbage", func(f *fake) { f.file(pki+"/ca.key", "hello") }, "ca.key is not PEM", true},
		{"state", "not mounted", func(f *fake) { f.file("/proc/self/mountinfo", "") }, "state partition is missing", true},
		{"state", "var elsewhere", func(f *fake) {
			f.file("/proc/self/mountinfo", "30 1 252:5 / "+statePath+" rw - ext4 a rw\n31 1 0:44 / /var rw - tmpfs b rw\n")
		}, "/var is not on the state partition", true},
		{"hostname", "another", func(f *fake) { f.host.Hostname = func() (string, error) { return "localhost", nil } }, "waiting for the host name master-1, it is localhost", false},
		{"address", "no card", func(f *fake) { f.host.Interfaces = func() ([]Interface, error) { return nil, nil } }, "waiting for a network interface with the MAC 52:54:00:77:00:11", false},
		{"address", "no address", func(f *fake) {
			f.host.Interfaces = func() ([]Interface, error) { return []Interface{{Name: "ens3", MAC: "52:54:00:77:00:11"}}, nil }
		}, "waiting for the address 10.77.0.11 on ens3, it has none", false},
		{"clock", "behind", func(f *fake) { f.now = f.now.AddDate(-5, 0, 0) }, "waiting for the clock to be set: it says 2021-", false},
		{"containerd", "no socket", func(f *fake) { f.remove(containerdSocket) }, "waiting for containerd: no /run/containerd", false},
		{"containerd", "no answer", func(f *fake) { f.programs["ctr"] = func(Command) error { return errors.New("exit status 1") } }, "waiting for containerd: ctr", false},
		{"images", "missing", func(f *fake) { f.programs["ctr"] = func(Command) error { return nil } }, testImage + " is missing from containerd's store", true},
	} {
		t.Run(c.gate+" "+c.name, func(t *testing.T) {
			f := newFake(t)
			m := f.machine()
			c.spoil(f)
			err := runGate(t.Context(), m, c.gate)
			require.ErrorContains(t, err, c.want)
			assert.Equal(t, c.stop, errors.As(err, new(Stop)))
			assert.NotContains(t, err.Error(), strings.TrimPrefix(f.root, "/"), "a path of the test")
		})
	}
}

// What has no kubelet has no Kubernetes in its image, and not every secret is PEM.
func TestGatesOfANodeWithoutAKubelet(t *testing.T) {
	f := newFake(t)
	n, i := testNode(), testImageFile()
	n.Role, i.Role, n.InitMaster, i.Components = "lb", "lb", false, map[string]string{"haproxy": "3.0"}
	n.Secrets = []string{node.CAPath, node.VRRPPath}
	f.file(node.CAPath, f.cas["ca"].certPEM)
	f.file(node.VRRPPath, "secret12\n")
	f.identity(n, i)
	m := f.machine()
	require.NoError(t, runGate(t.Context(), m, "identity"))
	require.NoError(t, runGate(t.Context(), m, "secrets"))
	assert.Empty(t, m.containerGates())

	i.Components["kubernetes"] = "v1.35.0"
	f.identity(n, i)
	assert.ErrorContains(t, runGate(t.Context(), m, "identity"), "but the image has v1.35.0")
	f.file(node.VRRPPath, " \n")
	assert.ErrorContains(t, runGate(t.Context(), m, "secrets"), "secret /etc/imgbuild/vrrp is empty")
}

// runGate runs one gate once.
func runGate(ctx context.Context, m *machine, name string) error {
	for _, g := range append(m.gates(), m.containerGates()...) {
		if g.Name != name {
			continue
		}
		done, err := g.Done(ctx)
		if done || err != nil {
			return err
		}
		return g.Run(ctx)
	}
	return errors.New("no such gate")
}

func TestAGateWaitsForWhatComesLater(t *testing.T) {
	f := newFake(t)
	good := f.host.Interfaces
	calls := 0
	f.host.Interfaces = func() ([]Interface, error) {
		if calls++; calls < 4 {
			return nil, nil
		}
		return good()
	}
	require.NoError(t, runGate(t.Context(), f.machine(), "address"))
}
