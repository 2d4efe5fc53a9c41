package firstboot

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRepairRemovesWhatIsUselessAndNothingElse(t *testing.T) {
	pair := func(name string) []string { return []string{pki + "/" + name + ".crt", pki + "/" + name + ".key"} }
	for _, c := range []struct {
		name    string
		spoil   func(f *fake)
		removed []string
		faults  []string
	}{
		{name: "nothing wrong", spoil: func(*fake) {}},
		{name: "empty manifest", spoil: func(f *fake) { f.file(manifests+"/etcd.yaml", "") },
			removed: []string{manifests + "/etcd.yaml"}, faults: []string{"etcd.yaml is empty"}},
		{name: "zeroed manifest", spoil: func(f *fake) { f.file(manifests+"/etcd.yaml", strings.Repeat("\x00", 4096)) },
			removed: []string{manifests + "/etcd.yaml"}, faults: []string{"etcd.yaml is not YAML"}},
		{name: "half a manifest", spoil: func(f *fake) { f.file(manifests+"/etcd.yaml", "apiVersion: v1\nkind: Pod\n") },
			removed: []string{manifests + "/etcd.yaml"}, faults: []string{"is not the static pod etcd"}},
		{name: "empty kubeconfig", spoil: func(f *fake) { f.file(adminConf, "") },
			removed: []string{adminConf}, faults: []string{"admin.conf is empty"}},
		{name: "kubeconfig of another CA", spoil: func(f *fake) {
			f.cas["ca"] = newAuthority(f.t, "other")
			f.file(adminConf, f.kubeconfig("admin"))
		}, removed: []string{adminConf}, faults: []string{"admin.conf has not the cluster's CA"}},
		{name: "kubelet.conf without its rotated certificate", spoil: func(f *fake) {
			f.file(kubeletConf, rotated(f.kubeconfig("kubelet")))
		}, removed: []string{kubeletConf}, faults: []string{"needs /var/lib/kubelet/pki/kubelet-client-current.pem"}},
		{name: "empty leaf", spoil: func(f *fake) { f.file(pki+"/apiserver.crt", "") },
			removed: pair("apiserver"), faults: []string{"apiserver.crt is not a certificate with its key"}},
		{name: "leaf without key", spoil: func(f *fake) { f.remove(pki + "/etcd/peer.key") },
			removed: pair("etcd/peer"), faults: []string{"etcd/peer.key is missing"}},
		{name: "leaf of another CA", spoil: func(f *fake) {
			cert, key := newAuthority(f.t, "other").issue(f.t, "x")
			f.file(pki+"/apiserver.crt", cert)
			f.file(pki+"/apiserver.key", key)
		}, removed: pair("apiserver"), faults: []string{"is not signed by the CA"}},
		{name: "empty kubelet config", spoil: func(f *fake) { f.file(kubeletConfig, "") },
			removed: []string{kubeletConfig}, faults: []string{"config.yaml is empty"}},
		{name: "empty super-admin.conf", spoil: func(f *fake) { f.file(superAdmin, "") },
			removed: []string{scheduler, superAdmin}, faults: []string{"super-admin.conf is empty"}},
		{name: "empty CA key", spoil: func(f *fake) { f.file(pki+"/ca.key", "") }},
		{name: "empty CA", spoil: func(f *fake) { f.file(pki+"/etcd/ca.crt", "") },
			faults: []string{"etcd/ca.crt is not a certificate in PEM"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			f.kubeadmFiles()
			m := f.machine()
			c.spoil(f)
			before := files(t, f)
			faults := m.faults()
			assert.Equal(t, len(c.faults) > 0, len(faults) > 0, "%v", faults)
			for _, want := range c.faults {
				assert.Contains(t, join(faults), want)
			}
			require.NoError(t, m.repair(faults))
			var removed []string
			for _, name := range before {
				if !f.host.exists(name) {
					removed = append(removed, name)
				}
			}
			var want []string
			for _, name := range c.removed {
				if strings.Contains(join(before), name) {
					want = append(want, name)
				}
			}
			assert.ElementsMatch(t, want, removed)
		})
	}
}

// TestSuperAdminGoesLast: a power cut between two removals must not leave
// what looks like a finished init.
func TestSuperAdminGoesLast(t *testing.T) {
	f := newFake(t)
	f.kubeadmFiles()
	f.file(superAdmin, "")
	m := f.machine()
	f.host.Sync = func() {
		done, err := m.initDone(t.Context())
		assert.NoError(t, err)
		assert.False(t, done)
	}
	require.NoError(t, m.repair(m.faults()))
}

func TestRepairKeepsWhatIgnitionDelivered(t *testing.T) {
	f := newFake(t)
	f.kubeadmFiles()
	n := testNode()
	n.Secrets = append(n.Secrets, pki+"/apiserver-etcd-client.crt", pki+"/apiserver-etcd-client.key")
	f.identity(n, testImageFile())
	f.file(pki+"/apiserver-etcd-client.crt", "")
	m := f.machine()
	require.NotEmpty(t, m.faults())
	require.NoError(t, m.repair(m.faults()))
	assert.FileExists(t, f.host.path(pki+"/apiserver-etcd-client.crt"))
	assert.FileExists(t, f.host.path(pki+"/apiserver-etcd-client.key"))
}

// rotated points a kubeconfig to the kubelet's own pair, as kubeadm's
// kubelet-finalize does.
func rotated(kubeconfig string) string {
	head, _, _ := strings.Cut(kubeconfig, "    client-certificate-data")
	const pair = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	return head + "    client-certificate: " + pair + "\n    client-key: " + pair + "\n"
}

func TestARotatedKubeletCertificateIsAccepted(t *testing.T) {
	f := newFake(t)
	f.kubeadmFiles()
	cert, key := f.cas["ca"].issue(t, "system:node:master-1")
	f.file("/var/lib/kubelet/pki/kubelet-client-current.pem", cert+key)
	f.file(kubeletConf, rotated(f.kubeconfig("kubelet")))
	assert.Empty(t, f.machine().faults())
}

func join[T any](list []T) string { return fmt.Sprint(list) }

// files lists the machine's files below /etc and /var.
func files(t *testing.T, f *fake) []string {
	t.Helper()
	var list []string
	for _, top := range []string{"etc", "var"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(f.root, top), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				list = append(list, strings.TrimPrefix(path, f.root))
			}
			return err
		}))
	}
	return list
}
