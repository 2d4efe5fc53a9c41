package firstboot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// founder makes a machine's kubeadm init a cluster with one worker.
func founder(f *fake, c *fakeCluster) {
	f.programs["kubeadm"] = func(cmd Command) error {
		f.kubeadmFiles()
		if strings.HasPrefix(cmd.String(), "kubeadm init phase") {
			f.remove(superAdmin)
			c.reach(f.node.Address + ":6443")
			return nil
		}
		if f.node.Topology == "external-etcd" {
			f.joinFiles()
			f.file(superAdmin, f.kubeconfig("super-admin"))
		}
		founded(f, c)
		return nil
	}
}

// founded has the cluster of the first master answer.
func founded(f *fake, c *fakeCluster) {
	c.start()
	c.network()
	c.reach(testEndpoint + ":6443")
	c.nodeObject("worker-1", "True", "w", object{})
	if f.node.Topology == "stacked" {
		newEtcd(f.t, f, f.node.Address).member("master-1", "10.77.0.11")
	}
}

// joiner is a cluster that is up, and a kubeadm whose join works. The masters
// of etcd are those besides this one.
func joiner(f *fake, c *fakeCluster) *fakeEtcd {
	c.up()
	c.network()
	c.nodeObject("worker-1", "True", "w", object{})
	c.put("/api/v1/namespaces/kube-system/configmaps/imgbuild-service-test", object{"data": object{"result": `{"passed":true}`}})
	e := newEtcd(f.t, f, f.machine().otherMasters()...)
	for _, p := range f.node.Masters {
		if p.Name != f.node.Name {
			e.member(p.Name, p.Address)
		}
	}
	f.programs["kubeadm"] = func(cmd Command) error {
		fmt.Fprintln(cmd.Stdout, "[preflight] Running pre-flight checks")
		f.advance(2 * time.Second)
		fmt.Fprintln(cmd.Stdout, "[check-etcd] Checking that the etcd cluster is healthy")
		f.advance(3 * time.Second)
		if f.node.Topology == "stacked" {
			if _, found := findMember(e.members, f.node.Name, f.node.Address); !found {
				e.member(f.node.Name, f.node.Address)
			}
			f.dial[f.node.Address+":2379"] = e.server.Listener.Addr().String()
		}
		f.joinFiles()
		f.remove(bootstrapConf)
		c.reach(f.node.Address + ":6443")
		c.node("True")
		return nil
	}
	return e
}

// joins counts the runs of kubeadm join.
func joins(f *fake) int {
	return strings.Count(strings.Join(f.ran, "\n"), "kubeadm join --config /run/imgbuild/kubeadm.yaml")
}

func TestAMasterJoinsAndSaysEveryStep(t *testing.T) {
	f, c := newHA(t, "master-2", "stacked")
	joiner(f, c)
	works := f.programs["kubeadm"]
	f.programs["kubeadm"] = func(cmd Command) error {
		discovery, err := os.Stat(f.host.path(discoveryPath))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), discovery.Mode().Perm())
		assert.Equal(t, "master-2", c.objects[leasePath]["spec"].(object)["holderIdentity"], "it has the turn")
		assert.NotContains(t, strings.Join(f.ran, "\n"), "kubelet.service", "the kubelet is kubeadm's to start")
		return works(cmd)
	}
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	golden(t, "join.console", f.console.String())
	assert.Equal(t, 1, joins(f))
	assert.NotContains(t, c.objects, leasePath, "the turn goes to the next")
	assert.NoFileExists(t, f.host.path(discoveryPath), "no key is left in memory")
	assert.NoFileExists(t, f.host.path(kubeadmConfigPath))
	s, err := ReadStatus(f.host)
	require.NoError(t, err)
	assert.Equal(t, StateReady, s.State)

	f.console.Reset()
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.NotContains(t, f.console.String(), "phase join", "a later boot finds it done")
	assert.Equal(t, 1, joins(f))
}

func TestAMasterJoinsWithExternalEtcd(t *testing.T) {
	f, c := newHA(t, "master-2", "external-etcd")
	e := joiner(f, c)
	for _, a := range []string{"31", "32", "33"} {
		f.dial["10.77.0."+a+":2379"] = e.server.Listener.Addr().String()
	}
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Equal(t, 1, joins(f))
	assert.Contains(t, f.console.String(), "imgbuild: ready (up ")
}

func TestTheDerivedKubeconfigIsAnAdministratorsForAFewHours(t *testing.T) {
	f, _ := newHA(t, "master-2", "stacked")
	m := f.machine()
	require.NoError(t, m.writeDiscovery())
	who, err := f.host.readKubeconfig(discoveryPath, f.cas["ca"].cert)
	require.NoError(t, err)
	assert.Equal(t, []string{"kubeadm:cluster-admins"}, who.client.Leaf.Subject.Organization)
	assert.LessOrEqual(t, who.client.Leaf.NotAfter.Sub(f.now), derivedFor)
	text, err := f.host.read(discoveryPath)
	require.NoError(t, err)
	assert.Contains(t, string(text), "server: https://10.77.0.10:6443")
}

func TestAMasterWaits(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(f *fake, c *fakeCluster, e *fakeEtcd)
		want  string
	}{
		{"for the endpoint", func(f *fake, _ *fakeCluster, _ *fakeEtcd) { delete(f.dial, testEndpoint+":6443") },
			"waiting for the API at 10.77.0.10:6443: connection refused"},
		{"for the init to end", func(_ *fake, c *fakeCluster, _ *fakeEtcd) {
			delete(c.objects, "/api/v1/namespaces/kube-public/configmaps/cluster-info")
		}, "waiting for the first master to finish its init: "},
		{"for the first master's add-ons", func(_ *fake, c *fakeCluster, _ *fakeEtcd) { delete(c.objects, flannelPath) },
			"waiting for the first master to finish its init: "},
		{"for its old node to be gone", func(_ *fake, c *fakeCluster, _ *fakeEtcd) {
			c.nodeObject("master-2", "True", "an older boot", object{controlPlaneLabel: ""})
		}, "waiting for the old node master-2 to be seen as not ready"},
		{"for its turn", func(_ *fake, c *fakeCluster, _ *fakeEtcd) { c.put(leasePath, leaseOf("master-3")) },
			"waiting for master-3, which joins since 2026-11-23T09:00:00Z (if it is gone for good: kubectl -n kube-system delete lease imgbuild-join)"},
		{"for etcd", func(f *fake, _ *fakeCluster, _ *fakeEtcd) {
			delete(f.dial, "10.77.0.11:2379")
			delete(f.dial, "10.77.0.13:2379")
		},
			"waiting for etcd to say who its members are: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, cluster := newHA(t, "master-2", "stacked")
			e := joiner(f, cluster)
			c.spoil(f, cluster, e)
			f.until("phase join retry")
			require.ErrorIs(t, Run(t.Context(), f.host, "v0.1.0"), errEnough)
			assert.Contains(t, f.console.String(), "imgbuild: phase join retry ("+c.want)
			assert.Zero(t, joins(f))
		})
	}
}

// TestAFailedJoinRests: without etcd nothing that kubeadm has started can work.
func TestAFailedJoinRests(t *testing.T) {
	for name, rests := range map[string]bool{"": true, etcdLog + "/0.wal": false} {
		f, c := newHA(t, "master-2", "stacked")
		joiner(f, c)
		f.programs["kubeadm"] = func(Command) error {
			if name != "" {
				f.file(name, "")
			}
			return errors.New("exit status 1")
		}
		f.until("phase join retry")
		require.ErrorIs(t, Run(t.Context(), f.host, "v0.1.0"), errEnough)
		assert.Equal(t, rests, slices.Contains(f.ran, "systemctl stop kubelet.service"), "etcd has %q", name)
	}
}

// A waiting node asks seldom.
func TestWaitingCostsLittle(t *testing.T) {
	f, c := newHA(t, "master-2", "stacked")
	joiner(f, c)
	delete(f.dial, testEndpoint+":6443")
	dials := 0
	dial := f.host.Dial
	f.host.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials++
		return dial(ctx, network, address)
	}
	sleep, start := f.host.Sleep, f.now
	f.host.Sleep = func(ctx context.Context, d time.Duration) error {
		if f.now.Sub(start) > time.Hour {
			return errEnough
		}
		return sleep(ctx, d)
	}
	require.ErrorIs(t, Run(t.Context(), f.host, "v0.1.0"), errEnough)
	assert.Less(t, dials, 60*60/20, "in an hour")
}
