package firstboot

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAStaleMemberOfEtcdIsRemovedOnlyWithAnEmptyDisk(t *testing.T) {
	own := etcdMember{ID: "77", Name: "master-2", PeerURLs: []string{peerURL("10.77.0.12")}}
	unnamed := etcdMember{ID: "77", PeerURLs: []string{peerURL("10.77.0.12")}, Learner: true}
	renamed := etcdMember{ID: "77", Name: "master-2", PeerURLs: []string{peerURL("10.77.0.99")}}
	for name, c := range map[string]struct {
		member  *etcdMember
		disk    string
		removed bool
		stop    string
	}{
		"a voter, empty disk":                       {&own, "", true, ""},
		"of another address, empty disk":            {&renamed, "", true, ""},
		"a learner that never started, empty disk":  {&unnamed, "", true, ""},
		"no member, empty disk":                     {nil, "", false, ""},
		"a voter, data":                             {&own, etcdLog + "/0.wal", false, ""},
		"a learner that never started, files":       {&unnamed, etcdData + "/member/snap/db", false, ""},
		"no member, files":                          {nil, etcdData + "/member/snap/db", false, ""},
		"a voter, files without a log":              {&own, etcdData + "/member/snap/db", false, "has lost its log"},
		"a learner that never started, a log":       {&unnamed, etcdLog + "/0.wal", false, ""},
		"a voter, a log that etcd had not finished": {&own, etcdData + "/member/wal.tmp/0.wal", false, "has lost its log"},
	} {
		t.Run(name, func(t *testing.T) {
			f, cluster := newHA(t, "master-2", "stacked")
			e := joiner(f, cluster)
			if c.member != nil {
				e.members = append(e.members, *c.member)
			}
			if c.disk != "" {
				f.file(c.disk, "x")
			}
			err := f.machine().clearMember(t.Context())
			if c.stop != "" {
				require.ErrorAs(t, err, new(Stop))
				assert.ErrorContains(t, err, c.stop)
			} else {
				require.NoError(t, err)
			}
			if !c.removed {
				assert.Empty(t, e.removed)
				return
			}
			assert.Equal(t, []string{"77"}, e.removed)
			assert.Contains(t, f.console.String(), "imgbuild: removing member ")
		})
	}
}

func TestEtcdIsHealthyWhereOneMemberSaysSo(t *testing.T) {
	f, _ := newHA(t, "master-1", "external-etcd")
	m := f.machine()
	assert.ErrorContains(t, m.checkEtcd(t.Context()), "waiting for etcd to have a quorum: etcd at https://10.77.0.31:2379: connection refused; etcd at https://10.77.0.32:2379")
	e := newEtcd(t, f, "10.77.0.33")
	require.NoError(t, m.checkEtcd(t.Context()))
	e.health = `{"health":"false","reason":"RAFT NO LEADER"}`
	assert.ErrorContains(t, m.checkEtcd(t.Context()), "https://10.77.0.33:2379 is not healthy: RAFT NO LEADER")
}

// Another cluster's etcd is not asked anything.
func TestEtcdOfAnotherClusterIsRefused(t *testing.T) {
	f, _ := newHA(t, "master-1", "external-etcd")
	other := newFake(t)
	e := newEtcd(t, other)
	f.dial["10.77.0.31:2379"] = e.server.Listener.Addr().String()
	assert.ErrorContains(t, f.machine().checkEtcd(t.Context()), "certificate signed by unknown authority")
}
