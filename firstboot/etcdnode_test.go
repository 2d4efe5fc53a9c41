package firstboot

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
)

// etcdNode is the first of three members.
func etcdNode() node.Node {
	n := testNode()
	n.Name, n.Role, n.Topology, n.InitMaster = "etcd-1", "etcd", "external-etcd", false
	n.Etcd = []node.Peer{{Name: "etcd-1", Address: testAddress}, {Name: "etcd-2", Address: "10.77.0.12"}, {Name: "etcd-3", Address: "10.77.0.13"}}
	n.Secrets = []string{node.EtcdPKI + "/ca.crt"}
	for _, pair := range []string{"server", "peer"} {
		n.Secrets = append(n.Secrets, node.EtcdPKI+"/"+pair+".crt", node.EtcdPKI+"/"+pair+".key")
	}
	return n
}

func TestEtcdConfig(t *testing.T) {
	n := etcdNode()
	for name, start := range map[string]etcdStart{"new": {members: n.Etcd}, "existing": {existing: true, members: n.Etcd[:2]}} {
		text, err := etcdConfig(n, start)
		require.NoError(t, err)
		golden(t, "etcd-"+name+".yaml", string(text))
	}
}

// Every row of decide's table, with a machine around it.
func TestAMemberWithoutDataFindsItsPlace(t *testing.T) {
	const three = "etcd-1=https://10.77.0.11:2380,etcd-2=https://10.77.0.12:2380,etcd-3=https://10.77.0.13:2380"
	const last = "etcd-2=https://10.77.0.12:2380,etcd-3=https://10.77.0.13:2380,etcd-1=https://10.77.0.11:2380"
	for name, c := range map[string]struct {
		cluster *fakeMembers
		action  etcdAction
		state   string
		initial string
		calls   []string
	}{
		"nobody has a cluster":                  {nil, etcdBootstrap, "new", three, nil},
		"a first member that never ran":         {known(true, self("etcd-1", false)), etcdBootstrap, "new", three, nil},
		"the same without a quorum":             {known(false, self("etcd-1", false)), etcdBootstrap, "new", three, nil},
		"added, then the power was cut":         {known(true, self("", false)), etcdJoin, "existing", three, nil},
		"the same without a quorum, needs it":   {known(false, self("", false)), etcdJoin, "existing", three, nil},
		"it ran before":                         {known(true, self("etcd-1", true)), etcdReplace, "existing", last, []string{"remove", "add"}},
		"removed, then the power was cut":       {known(true), etcdAdd, "existing", last, []string{"add"}},
		"it ran before, but there is no quorum": {known(false, self("etcd-1", true)), etcdWait, "", "", nil},
		"removed, but there is no quorum":       {known(false), etcdWait, "", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			f, units := newMember(t, c.cluster)
			f.poweredOn("10.77.0.12", "10.77.0.13")
			m := f.machine()
			view, err := m.askMembers(t.Context(), "https://10.77.0.11:2380")
			require.NoError(t, err)
			assert.Equal(t, c.action, view.decide("https://10.77.0.11:2380"))

			err = m.startEtcd(t.Context())
			if c.state == "" {
				require.ErrorContains(t, err, "waiting for a quorum of the other members: this one has no data, but its cluster has")
				assert.Empty(t, units)
				assert.NoFileExists(t, f.host.path(etcdConfigPath))
				return
			}
			require.NoError(t, err)
			config, err := f.host.read(etcdConfigPath)
			require.NoError(t, err)
			assert.Contains(t, string(config), "\ninitial-cluster: "+c.initial+"\n")
			assert.Contains(t, string(config), "\ninitial-cluster-state: "+c.state+"\n")
			assert.Equal(t, []string{"systemctl restart etcd.service"}, f.controls())
			if c.cluster != nil {
				assert.Equal(t, c.calls, c.cluster.calls)
			}
		})
	}
}

// Two members have lost their data, and one of them has begun anew already: the
// third, which knows better, counts.
func TestAMemberThatKnowsTheClusterCountsMost(t *testing.T) {
	for _, knows := range []string{"10.77.0.12", "10.77.0.13"} {
		f, units := newMember(t, known(false, self("etcd-1", true)))
		anew := known(false, self("etcd-1", false))
		anew.t = t
		server := f.etcdServer(anew)
		for _, address := range []string{"10.77.0.12", "10.77.0.13"} {
			if address != knows {
				f.dial[address+":2379"], f.dial[address+":2380"] = server, server
			}
		}
		require.ErrorContains(t, f.machine().startEtcd(t.Context()), "waiting for a quorum of the other members")
		assert.Empty(t, units)
	}
}

// The power is cut after any step of taking a lost member's place: the next boot
// carries on from what the cluster says.
func TestAReplacedMemberSurvivesPowerCuts(t *testing.T) {
	cluster := known(true, self("etcd-1", true))
	cluster.addFails = true
	f, units := newMember(t, cluster)
	m := f.machine()
	require.ErrorContains(t, m.startEtcd(t.Context()), "add this member: POST /v3/cluster/member/add: etcdserver: re-configuration failed")
	assert.Empty(t, units)

	// Boot: it is not listed any more.
	cluster.addFails = false
	f.programs["systemctl"] = func(Command) error { return errors.New("power cut") }
	require.Error(t, f.machine().startEtcd(t.Context()))
	assert.Equal(t, []string{"remove", "add"}, cluster.calls)

	// Boot: it is listed and has not run; what etcd left half-made is no data.
	f.file(etcdData+"/member/snap/db", "")
	f.file(etcdData+"/member/wal.tmp/0.tmp", "")
	f.units(func(string) { f.file(etcdData+"/member/wal/0.wal", "x") })
	_ = f.machine().startEtcd(t.Context())
	assert.Equal(t, []string{"remove", "add"}, cluster.calls, "not once more")
	config, err := f.host.read(etcdConfigPath)
	require.NoError(t, err)
	assert.Contains(t, string(config), "initial-cluster-state: existing")
	assert.FileExists(t, f.host.path(etcdData+"/member/snap/db"), "nothing is deleted")
}

func TestEtcdFirstAndLaterBoot(t *testing.T) {
	f, _ := newMember(t, nil)
	f.poweredOn("10.77.0.12")
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	golden(t, "etcd.console", f.console.String())

	// A boot: etcd has data, and nobody is asked.
	cluster := known(true, self("etcd-1", true))
	server := f.etcdServer(cluster)
	f.dial["10.77.0.12:2379"], f.dial["10.77.0.12:2380"] = server, server
	cluster.t = t
	f.units(func(string) {})
	f.ran = nil
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Equal(t, []string{"systemctl start etcd.service"}, f.controls(), "it is not restarted")
	assert.Empty(t, cluster.calls)

	f.ran = nil
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Empty(t, f.controls(), "it runs")
}

func TestEtcdSaysWhatItWaitsFor(t *testing.T) {
	t.Run("machines", func(t *testing.T) {
		f, units := newMember(t, nil)
		assert.EqualError(t, f.machine().startEtcd(t.Context()), "waiting for a quorum: machines of 1 of 3 members are up")
		assert.Empty(t, units, "etcd would only look for them")
	})
	t.Run("members", func(t *testing.T) {
		f, _ := newMember(t, known(true))
		delete(f.dial, "10.77.0.13:2380")
		f.file(etcdData+"/member/wal/0.wal", "x")
		f.units(func(string) {})
		assert.EqualError(t, f.machine().startEtcd(t.Context()),
			"waiting for a quorum: 2 of 3 members reachable: the API at https://10.77.0.11:2379: connection refused")
	})
	t.Run("a leader", func(t *testing.T) {
		f, _ := newMember(t, known(true))
		f.units(func(string) {
			f.dial[testAddress+":2379"] = f.etcdServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusServiceUnavailable)
				json.NewEncoder(w).Encode(object{"health": "false", "reason": "RAFT NO LEADER"})
			}))
		})
		f.file(etcdData+"/member/wal/0.wal", "x")
		assert.ErrorContains(t, f.machine().startEtcd(t.Context()), "waiting for etcd: GET /health: RAFT NO LEADER (HTTP 503)")
	})
	t.Run("a member that was removed", func(t *testing.T) {
		f, _ := newMember(t, known(true))
		f.file(etcdData+"/member/wal/0.wal", "x")
		f.programs["systemctl"] = func(c Command) error {
			if c.Args[0] == "is-active" {
				return errors.New("exit status 3")
			}
			return nil
		}
		assert.ErrorContains(t, f.machine().startEtcd(t.Context()), "has been removed from the cluster, install etcd-1 again while the other members run")
	})
	t.Run("a member of another CA", func(t *testing.T) {
		f, units := newMember(t, known(true))
		mine := f.cas["etcd/ca"]
		f.cas["etcd/ca"] = newAuthority(t, "another")
		for _, address := range []string{"10.77.0.12", "10.77.0.13"} {
			f.dial[address+":2379"] = f.etcdServer(known(true))
			f.dial[address+":2380"] = f.dial[address+":2379"]
		}
		f.cas["etcd/ca"] = mine
		assert.ErrorContains(t, f.machine().startEtcd(t.Context()), "member etcd-3: the API at https://10.77.0.13:2380: tls: failed to verify certificate")
		assert.Empty(t, units, "who cannot be understood may know of a cluster")
	})
	t.Run("a config without this node", func(t *testing.T) {
		f, _ := newMember(t, nil)
		n := etcdNode()
		n.Etcd = n.Etcd[1:]
		f.json(node.Path, n)
		require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
		assert.Contains(t, f.console.String(), "imgbuild: stop: node etcd-1 has the role etcd, but is not among the members in its config: render it again\n")
	})
}
