package firstboot

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDecideEveryRow(t *testing.T) {
	const api = "10.77.0.12:6443"
	for _, c := range []struct {
		name string
		s    sight
		want course
		why  string
	}{
		{"first boot", sight{stacked: true}, toInit, "nobody serves"},
		{"power cut during the first init", sight{stacked: true, data: true, unfinished: true}, toInit, "interrupted"},
		{"power cut during the first init, others have joined already", sight{stacked: true, data: true, unfinished: true, serving: api}, toInit, "interrupted"},
		{"power cut before its etcd was started", sight{stacked: true, unfinished: true}, toInit, "nobody serves"},
		{"installed anew", sight{stacked: true, serving: api}, toJoin, api + " already serves"},
		{"installed anew, an old trace", sight{stacked: true, unfinished: true, serving: api}, toJoin, "already serves"},
		{"installed anew, the others' API is down", sight{stacked: true, member: "10.77.0.12:2379"}, toWait, "etcd at 10.77.0.12:2379 has this cluster"},
		{"somebody listens and does not say who", sight{stacked: true, unclear: testEndpoint + ":6443"}, toWait, "waiting for 10.77.0.10:6443 to say"},
		{"one is slow, another serves", sight{stacked: true, unclear: testEndpoint + ":6443", serving: api}, toJoin, "already serves"},
		{"its join was cut", sight{stacked: true, data: true, joined: true, serving: api}, toJoin, "serves this cluster"},
		{"its join was cut, and the manifest is lost", sight{stacked: true, data: true, serving: api}, toJoin, "serves this cluster"},
		{"its join was cut, the others are down", sight{stacked: true, data: true, joined: true}, toJoin, "its join was interrupted"},
		{"its own etcd, nobody else", sight{stacked: true, data: true}, toInit, "its own etcd"},

		{"external: first boot", sight{}, toInit, "etcd is empty"},
		{"external: first boot, a stranger at the endpoint", sight{serving: api}, toInit, "etcd is empty"},
		{"external: power cut during init", sight{unfinished: true, objects: true, serving: api, masters: []string{"master-2"}}, toInit, "interrupted"},
		{"external: etcd does not answer", sight{blind: errors.New("no leader"), serving: api}, toWait, "no leader"},
		{"external: installed anew", sight{objects: true, serving: api, masters: []string{"master-2"}}, toJoin, "already serves"},
		{"external: installed anew, the others are down", sight{objects: true, masters: []string{"master-2", "master-3"}}, toWait, "master-2, master-3, but none of their APIs answers"},
		{"external: the only master so far, installed anew", sight{objects: true}, toInit, "its only master"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, why := decide(c.s)
			assert.Equal(t, c.want, got)
			assert.Contains(t, why, c.why)
		})
	}
}

func TestLookSeesWhoServesThisCluster(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(f *fake)
		want  sight
	}{
		"nobody":                            {func(*fake) {}, sight{stacked: true}},
		"the endpoint":                      {func(f *fake) { f.dial[testEndpoint+":6443"] = tlsServer(f.t, f.cas["ca"]) }, sight{stacked: true, serving: testEndpoint + ":6443"}},
		"another cluster at the endpoint":   {func(f *fake) { f.dial[testEndpoint+":6443"] = tlsServer(f.t, newAuthority(f.t, "other")) }, sight{stacked: true}},
		"another master, no balancer":       {func(f *fake) { f.dial["10.77.0.13:6443"] = tlsServer(f.t, f.cas["ca"]) }, sight{stacked: true, serving: "10.77.0.13:6443"}},
		"only another master's etcd":        {func(f *fake) { f.dial["10.77.0.12:2379"] = tlsServer(f.t, f.cas["etcd/ca"]) }, sight{stacked: true, member: "10.77.0.12:2379"}},
		"an etcd of another cluster":        {func(f *fake) { f.dial["10.77.0.12:2379"] = tlsServer(f.t, newAuthority(f.t, "other")) }, sight{stacked: true}},
		"its own etcd":                      {func(f *fake) { f.file(etcdLog+"/0.wal", "x") }, sight{stacked: true, data: true}},
		"an etcd that was never started":    {func(f *fake) { f.file(etcdData+"/member/wal.tmp/0.wal", "x") }, sight{stacked: true}},
		"a join that was cut":               {func(f *fake) { f.joinFiles() }, sight{stacked: true, data: true, joined: true}},
		"an init that was cut":              {func(f *fake) { f.kubeadmFiles() }, sight{stacked: true, data: true, unfinished: true}},
		"its own API, which proves nothing": {func(f *fake) { f.dial[testAddress+":6443"] = tlsServer(f.t, f.cas["ca"]) }, sight{stacked: true}},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := newHA(t, "master-1", "stacked")
			c.spoil(f)
			assert.Equal(t, c.want, f.machine().look(t.Context()))
		})
	}
}

func TestLookReadsExternalEtcd(t *testing.T) {
	f, _ := newHA(t, "master-1", "external-etcd")
	m := f.machine()
	assert.Error(t, m.look(t.Context()).blind, "no etcd answers")

	e := newEtcd(t, f, "10.77.0.33") // one of three is enough
	assert.Equal(t, sight{}, m.look(t.Context()))
	e.keys["/registry/minions/master-1"] = true
	assert.Equal(t, sight{objects: true}, m.look(t.Context()), "its own node is no other master")
	e.keys["/registry/minions/master-3"] = true
	assert.Equal(t, sight{objects: true, masters: []string{"master-3"}}, m.look(t.Context()))
	f.file(superAdmin, "")
	assert.Equal(t, sight{unfinished: true}, m.look(t.Context()))
}

// A server that is too busy to shake hands is not nobody.
func TestASilentServerIsUnclear(t *testing.T) {
	f, _ := newHA(t, "master-1", "stacked")
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { silent.Close() })
	f.dial[testEndpoint+":6443"] = silent.Addr().String()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	s := f.machine().look(ctx)
	assert.Equal(t, testEndpoint+":6443", s.unclear)
	got, _ := decide(s)
	assert.Equal(t, toWait, got)

	empty, err := net.Listen("tcp", "127.0.0.1:0") // a balancer with nobody behind it
	require.NoError(t, err)
	t.Cleanup(func() { empty.Close() })
	go func() {
		for {
			conn, err := empty.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	f.dial[testEndpoint+":6443"] = empty.Addr().String()
	assert.Equal(t, sight{stacked: true}, f.machine().look(t.Context()))
	assert.EqualError(t, f.machine().handshake(t.Context(), testEndpoint+":6443", f.cas["ca"].cert), "a balancer answers, but no master behind it is ready")
}

// A single master has nobody to ask, so it asks nobody.
func TestASingleMasterLooksNowhere(t *testing.T) {
	f := newFake(t)
	f.dial[testAddress+":6443"] = tlsServer(t, f.cas["ca"])
	got, _ := decide(f.machine().look(t.Context()))
	assert.Equal(t, toInit, got)
}

func TestAFirstMasterThatIsInstalledAnewJoins(t *testing.T) {
	f, c := newHA(t, "master-1", "stacked")
	joiner(f, c)
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Contains(t, f.console.String(), "imgbuild: joining instead of making a cluster: the API at 10.77.0.10:6443 already serves this cluster")
	assert.Zero(t, kubeadmRuns(f), "no kubeadm init")
	assert.Contains(t, f.console.String(), "imgbuild: ready (up ")

	f.console.Reset()
	f.ran = nil
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.NotContains(t, f.console.String(), "phase init", "a later boot finds it done")
	assert.NotContains(t, strings.Join(f.ran, "\n"), "kubeadm")
}

func TestAFirstMasterWaitsWhereAClusterIsKnownButDown(t *testing.T) {
	f, _ := newHA(t, "master-1", "stacked")
	f.dial["10.77.0.12:2379"] = tlsServer(t, f.cas["etcd/ca"])
	f.until("phase init retry")
	require.ErrorIs(t, Run(t.Context(), f.host, "v0.1.0"), errEnough)
	assert.Contains(t, f.console.String(), "imgbuild: phase init retry (waiting for an API to join: etcd at 10.77.0.12:2379 has this cluster already, and this node has no member of it; next in 1s)\n")
	assert.Zero(t, kubeadmRuns(f))
}

// The power is cut at the first init of a cluster of three: whatever was on the
// disk, it goes on as an init.
func TestAnInterruptedFirstInitGoesOnAsInit(t *testing.T) {
	for name, spoil := range map[string]func(f *fake, c *fakeCluster){
		"before anything": func(f *fake, _ *fakeCluster) {},
		"certificates only": func(f *fake, _ *fakeCluster) {
			f.kubeadmFiles()
			f.remove(etcdData)
			f.remove(manifests)
			f.remove("/var/lib/kubelet")
		},
		"etcd never started": func(f *fake, _ *fakeCluster) { f.kubeadmFiles(); f.remove(etcdData) },
		"etcd started":       func(f *fake, _ *fakeCluster) { f.kubeadmFiles() },
		"empty files": func(f *fake, _ *fakeCluster) {
			f.kubeadmFiles()
			f.file(manifests+"/etcd.yaml", "")
			f.file(scheduler, "")
		},
		"empty super-admin": func(f *fake, _ *fakeCluster) { f.kubeadmFiles(); f.file(superAdmin, "") },
		"etcd's log, no super-admin, no manifests": func(f *fake, _ *fakeCluster) {
			f.kubeadmFiles()
			f.remove(superAdmin)
			f.remove(manifests)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, c := newHA(t, "master-1", "stacked")
			founder(f, c)
			spoil(f, c)
			require.NoError(t, Run(t.Context(), f.host, "v0.1.0"), "%s", f.console.String())
			assert.NotContains(t, f.console.String(), "joining instead")
			assert.Equal(t, 1, kubeadmRuns(f))
			assert.Contains(t, f.console.String(), "imgbuild: ready (up ")
			assert.NoFileExists(t, f.host.path(superAdmin))
		})
	}
}

func TestAnInitWithExternalEtcdWaitsForItsQuorum(t *testing.T) {
	f, c := newHA(t, "master-1", "external-etcd")
	founder(f, c)
	e := newEtcd(t, f, "10.77.0.31", "10.77.0.32")
	e.health = `{"health":"false","reason":"RAFT NO LEADER"}`
	sleep, attempts := f.host.Sleep, 0
	f.host.Sleep = func(ctx context.Context, d time.Duration) error {
		if attempts++; attempts == 3 {
			e.health = `{"health":"true","reason":""}`
		}
		return sleep(ctx, d)
	}
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Contains(t, f.console.String(), "imgbuild: phase etcd retry (waiting for etcd to have a quorum: https://10.77.0.31:2379 is not healthy: RAFT NO LEADER; ")
	config, err := os.ReadFile(f.host.path(kubeadmConfigPath))
	require.NoError(t, err)
	assert.Contains(t, string(config), "https://10.77.0.33:2379")
	assert.NoFileExists(t, f.host.path(manifests+"/etcd.yaml"))
}
