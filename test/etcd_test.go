package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	contract "imgbuild/cluster/node"
)

// etcdPeers are the machines of the role etcd. All of 127.0.0.0/8 is this machine.
var etcdPeers = []contract.Peer{
	{Name: "etcd-1", Address: "127.77.0.31"}, {Name: "etcd-2", Address: "127.77.0.32"}, {Name: "etcd-3", Address: "127.77.0.33"},
}

// TestEtcdMembers lets real members form a cluster, and loses one again and again.
func TestEtcdMembers(t *testing.T) {
	w := newWorld(t)
	etcdMembers(t, filepath.Join(w.component("etcd", w.cache), "bin"))
}

func etcdMembers(t *testing.T, bin string) {
	pki := newEtcdPKI(t)
	var all []*etcdMachine
	for _, peer := range etcdPeers {
		all = append(all, newEtcdMachine(t, bin, pki, peer))
	}
	first, second, third := all[0], all[1], all[2]

	// Two are powered on together; the third comes when they are a cluster.
	together := make(chan error)
	go func() { together <- second.boot(t.Context()) }()
	third.mustBoot()
	require.NoError(t, <-together, second.console.String())
	before := second.ctl("member", "list")
	first.mustBoot()
	assert.NotContains(t, first.console.String(), "data is lost")
	assert.Equal(t, ids(before), ids(first.ctl("member", "list")), "it is the member that it was meant to be")
	first.ctl("put", "cities", "Bern")

	// A power cut of all, and a later boot.
	for _, m := range all {
		m.cut()
	}
	go func() { together <- second.boot(t.Context()) }()
	third.mustBoot()
	require.NoError(t, <-together, second.console.String())
	first.mustBoot()

	// One is installed again: it gets its data back from the others.
	first.reimage()
	first.mustBoot()
	assert.Contains(t, first.console.String(), "imgbuild: etcd: this member's data is lost: it is removed from the cluster and added again\n")
	assert.Contains(t, first.ctl("get", "cities", "--consistency=s"), "Bern")
	assert.Len(t, ids(first.ctl("member", "list")), 3)

	// It is installed again, and the power is cut when it has been added.
	first.reimage()
	id := strings.Split(lineWith(second.ctl("member", "list"), "etcd-1"), ",")[0]
	second.ctl("member", "remove", id)
	second.await("member", "add", "etcd-1", "--peer-urls", "https://127.77.0.31:2380")
	added := ids(second.ctl("member", "list"))
	first.mustBoot()
	assert.NotContains(t, first.console.String(), "data is lost")
	assert.Equal(t, added, ids(first.ctl("member", "list")))
	assert.Contains(t, first.ctl("get", "cities", "--consistency=s"), "Bern")

	// It is installed again while the others have no quorum: it makes no second
	// cluster, and is added when they have one.
	first.reimage()
	second.cut()
	go func() { together <- first.boot(t.Context()) }()
	require.Eventually(t, func() bool {
		return strings.Contains(first.console.String(), "waiting for a quorum of the other members: this one has no data, but its cluster has")
	}, time.Minute, 100*time.Millisecond)
	assert.NoDirExists(t, filepath.Join(first.root, "var/lib/etcd/member/wal"))
	second.mustBoot()
	require.NoError(t, <-together, first.console.String())
	assert.Contains(t, first.ctl("get", "cities", "--consistency=s"), "Bern")

	snapshots(t, first)
}

// await repeats an etcdctl that the cluster refuses until all members are connected.
func (e *etcdMachine) await(args ...string) {
	e.t.Helper()
	require.EventuallyWithT(e.t, func(c *assert.CollectT) {
		out, err := e.etcdctl(args...)
		assert.NoError(c, err, out)
	}, time.Minute, time.Second)
}

// ids are the first column of etcdctl member list.
func ids(list string) []string {
	var all []string
	for line := range strings.Lines(list) {
		id, _, _ := strings.Cut(line, ",")
		all = append(all, id)
	}
	return all
}

func lineWith(text, word string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			return line
		}
	}
	return ""
}

// snapshots runs the timer's script on a healthy member, and on one that is not.
func snapshots(t *testing.T, e *etcdMachine) {
	dir := filepath.Join(e.root, "var/lib/etcd-snapshots")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	run := func(keep string) (string, error) {
		script := "../roles/parts/etcd-snapshots/rootfs/usr/lib/imgbuild/etcd-snapshot"
		cmd := exec.CommandContext(t.Context(), "sh", script)
		cmd.Env = append(os.Environ(), "PATH="+e.bin+":"+os.Getenv("PATH"), "KEEP="+keep, "SNAPSHOTS="+dir,
			"DATA="+filepath.Join(e.root, "var/lib/etcd"), "PKI="+filepath.Join(e.root, contract.EtcdPKI), "ENDPOINT=https://"+e.loopback+":2379")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	kept := func() []string {
		var names []string
		found, err := filepath.Glob(filepath.Join(dir, "*"))
		require.NoError(t, err)
		for _, f := range found {
			names = append(names, filepath.Base(f))
		}
		return names
	}
	for _, old := range []string{"20260101T000000Z.db", "20260102T000000Z.db", "20991231T000000Z.db", "20260103T000000Z.db.part"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, old), []byte("old"), 0o600))
	}
	out, err := run("3")
	require.NoError(t, err, out)
	names := kept()
	require.Len(t, names, 3, out)
	assert.Equal(t, "20260102T000000Z.db", names[0])
	assert.Equal(t, "20991231T000000Z.db", names[2], "of a clock that was wrong")
	info, err := os.Stat(filepath.Join(dir, names[1]))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	status := output(t, filepath.Join(e.bin, "etcdutl"), "snapshot", "status", filepath.Join(dir, names[1]))
	t.Log(status)

	out, err = run("none")
	require.Error(t, err)
	assert.Contains(t, out, "KEEP: expected a number from 1, got 'none'")
	e.cut()
	out, err = run("1")
	require.Error(t, err)
	assert.Contains(t, out, "this member is not healthy: no snapshot is saved")
	assert.Equal(t, names, kept(), "what is there stays")
}
