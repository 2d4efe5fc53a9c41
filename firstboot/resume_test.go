package firstboot

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An interrupted join is run again over what it left, at whatever point it was
// interrupted, and ends as a whole master.
func TestAnInterruptedJoinGoesOn(t *testing.T) {
	partial := func(f *fake, gone ...string) {
		f.joinFiles()
		for _, name := range gone {
			f.remove(name)
		}
	}
	kubelet := []string{kubeletConf, kubeletConfig, kubeletFlags}
	for name, c := range map[string]struct {
		spoil   func(f *fake, c *fakeCluster, e *fakeEtcd)
		joins   int
		revived bool
		// fresh: nothing that kubeadm's preflight would see is left.
		fresh bool
	}{
		"after the certificates": {func(f *fake, _ *fakeCluster, _ *fakeEtcd) {
			partial(f, append(kubelet, manifests, etcdData)...)
		}, 1, false, true},
		"an empty admin.conf": {func(f *fake, _ *fakeCluster, _ *fakeEtcd) {
			partial(f, append(kubelet, manifests, etcdData)...)
			f.file(adminConf, "")
		}, 1, false, true},
		"kubelet started, etcd not announced": {func(f *fake, _ *fakeCluster, _ *fakeEtcd) {
			partial(f, kubeletConf, manifests+"/etcd.yaml", etcdData)
			f.file(bootstrapConf, "")
		}, 1, false, false},
		"etcd announced, never started": {func(f *fake, _ *fakeCluster, e *fakeEtcd) {
			partial(f, kubeletConf, etcdData)
			f.file(bootstrapConf, f.kubeconfig("x"))
			e.members = append(e.members, etcdMember{ID: "7", PeerURLs: []string{peerURL("10.77.0.12")}, Learner: true})
		}, 1, false, false},
		"etcd is a learner": {func(f *fake, _ *fakeCluster, e *fakeEtcd) {
			partial(f, kubeletConf)
			e.members = append(e.members, etcdMember{ID: "7", Name: "master-2", PeerURLs: []string{peerURL("10.77.0.12")}, Learner: true})
		}, 1, true, false},
		"etcd votes, no kubelet.conf": {func(f *fake, _ *fakeCluster, e *fakeEtcd) {
			partial(f, kubeletConf)
			e.member("master-2", "10.77.0.12")
		}, 1, true, false},
		"everything but the label": {func(f *fake, c *fakeCluster, e *fakeEtcd) {
			partial(f)
			e.member("master-2", "10.77.0.12")
			c.nodeObject("master-2", "True", testBootID, object{})
			c.reach("10.77.0.12:6443")
		}, 1, false, false},
		"everything, but it still has the turn": {func(f *fake, c *fakeCluster, e *fakeEtcd) {
			partial(f)
			e.member("master-2", "10.77.0.12")
			c.node("True")
			c.put(leasePath, leaseOf("master-2"))
			c.reach("10.77.0.12:6443")
		}, 0, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			f, cluster := newHA(t, "master-2", "stacked")
			e := joiner(f, cluster)
			c.spoil(f, cluster, e)
			revived, works := false, f.programs["kubeadm"]
			var config string
			f.programs["kubeadm"] = func(cmd Command) error {
				if strings.HasPrefix(cmd.String(), "kubeadm init phase kubeconfig kubelet ") {
					revived = true
					f.file(kubeletConf, f.kubeconfig("kubelet"))
					return nil
				}
				text, err := f.host.read(kubeadmConfigPath)
				require.NoError(t, err)
				config = string(text)
				for i, m := range e.members { // kubeadm promotes
					if _, own := findMember([]etcdMember{m}, "master-2", "10.77.0.12"); own {
						e.members[i].Name, e.members[i].Learner = "master-2", false
					}
				}
				return works(cmd)
			}
			require.NoError(t, Run(t.Context(), f.host, "v0.1.0"), f.console.String())
			assert.Equal(t, c.joins, joins(f))
			assert.Equal(t, c.revived, revived)
			assert.Equal(t, name == "etcd announced, never started", len(e.removed) > 0, "a member without a disk")
			assert.NotContains(t, cluster.objects, leasePath)
			if c.joins > 0 {
				assert.Equal(t, !c.fresh, strings.Contains(config, "- FileAvailable--etc-kubernetes-kubelet.conf"), config)
				assert.Equal(t, name == "everything but the label", strings.Contains(config, "kubelet-start"), "a node that is ready and itself is not refused by kubeadm")
			}
			assert.Contains(t, f.console.String(), "imgbuild: ready (up ")
		})
	}
}

// A ready node whose files are broken cannot be joined again while it is ready.
func TestARunningNodeWithBrokenFilesIsStoppedFirst(t *testing.T) {
	f, c := newHA(t, "master-2", "external-etcd")
	joiner(f, c)
	f.joinFiles()
	f.file(adminConf, "")
	c.node("True")
	m := f.machine()
	err := m.runJoin(t.Context())
	assert.ErrorContains(t, err, "it is to join again, since /etc/kubernetes/admin.conf is empty")
	assert.Contains(t, f.ran, "systemctl stop kubelet.service")
	c.node("False")
	require.NoError(t, m.runJoin(t.Context()))
	assert.Equal(t, 1, joins(f))
}

func TestAWholeMasterWhoseAPIIsSlowIsNotJoinedAgain(t *testing.T) {
	f, c := newHA(t, "master-2", "stacked")
	e := joiner(f, c)
	f.joinFiles()
	e.member("master-2", "10.77.0.12")
	c.node("False")
	err := f.machine().runJoin(t.Context())
	assert.EqualError(t, err, "waiting for this node's own API: the API at https://10.77.0.12:6443: connection refused")
	assert.Zero(t, joins(f))
	assert.NotContains(t, c.objects, leasePath)
}

// What the agent does without asking the cluster, for its member of etcd.
func TestRevivalsAreThePhasesThatMakeTheFaultyFiles(t *testing.T) {
	var faults []fault
	for _, path := range []string{pki + "/apiserver.crt", adminConf, kubeletConf, scheduler, manifests + "/etcd.yaml", manifests + "/kube-apiserver.yaml", manifests + "/kube-scheduler.yaml", kubeletFlags} {
		faults = append(faults, fault{path, "is empty"})
	}
	assert.Equal(t, [][]string{
		{"certs", "all"}, {"kubeconfig", "admin"}, {"kubeconfig", "kubelet"}, {"kubeconfig", "scheduler"},
		{"etcd", "local"}, {"control-plane", "all"}, {"kubelet-start"},
	}, revivals(faults))
	assert.Empty(t, revivals(nil))
}

func TestOnlyAMemberWithDataIsRevived(t *testing.T) {
	for name, c := range map[string]struct {
		topology string
		spoil    func(f *fake)
		want     bool
	}{
		"a member of etcd":   {"stacked", func(f *fake) { f.joinFiles(); f.file(scheduler, "") }, true},
		"no data":            {"stacked", func(f *fake) { f.joinFiles(); f.remove(etcdData) }, false},
		"an unfinished init": {"stacked", func(f *fake) { f.kubeadmFiles(); f.file(scheduler, "") }, false},
		"external etcd":      {"external-etcd", func(f *fake) { f.joinFiles(); f.file(etcdLog+"/0.wal", "x") }, false},
		"a first boot":       {"stacked", func(*fake) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := newHA(t, "master-2", c.topology)
			c.spoil(f)
			assert.Equal(t, c.want, f.machine().mustRevive())
		})
	}
}
