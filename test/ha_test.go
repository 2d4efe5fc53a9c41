package test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestStackedCluster powers on six machines in random order, the worker before
// the others and with a clock that is two days late, and one master with a clock
// that is an hour ahead. Then it takes machines away.
func TestStackedCluster(t *testing.T) {
	masters := []string{"master-1", "master-2", "master-3"}
	w := newHA(t, "stacked", machine{"lb-1", "lb", 21}, machine{"lb-2", "lb", 22},
		machine{"master-1", "master", 11}, machine{"master-2", "master", 12}, machine{"master-3", "master", 13}, machine{"worker-1", "worker", 31})

	order := w.shuffled("worker-1")
	clocks := map[string]time.Duration{"worker-1": -48 * time.Hour, "master-3": time.Hour}
	for _, name := range order {
		w.start(name, clocks[name])
		w.awaitOf(name, 0, `imgbuild: agent start `, 30*time.Minute)
	}
	w.awaitOf("worker-1", 0, `imgbuild: phase api retry \(waiting for the API at `+endpoint, time.Minute)
	w.upAll(order)
	s := w.status()
	assert.True(t, s.ServiceTest.Passed)
	checks := ""
	for _, c := range s.ServiceTest.Checks {
		checks += c.Name + " "
		assert.True(t, c.Passed, c.Name)
	}
	t.Log("service test: " + checks)
	cluster := w.clusterID()
	w.works(cluster, masters)

	t.Run("the balancer with the API's address is lost", func(t *testing.T) {
		w := w.of(t)
		holder := w.holder()
		t.Logf("%s is lost: the API does not answer for %s", holder, w.gap(func() { w.must("lab", "kill", holder) }))
		require.NotEqual(t, holder, w.holder())
		t.Logf("master-3 is lost too: the API does not answer for %s", w.gap(func() { w.must("lab", "kill", "master-3") }))
		w.must("lab", "start", "master-3", "--images", w.images)
		w.must("lab", "start", holder, "--images", w.images)
		w.upAll(w.names(""))
		w.works(cluster, masters)
	})

	t.Run("the first master is installed anew", func(t *testing.T) {
		w := w.of(t)
		w.must("lab", "reimage", "master-1", "--images", w.images)
		w.upAll(w.names(""))
		assert.Contains(t, w.consoleOf("master-1"), "imgbuild: joining instead of making a cluster")
		assert.NotContains(t, w.consoleOf("master-1"), "imgbuild: kubeadm addons")
		w.works(cluster, masters)
	})

	t.Run("two masters are lost at once", func(t *testing.T) {
		w := w.of(t)
		w.must("lab", "kill", "master-2")
		w.must("lab", "kill", "master-3")
		w.must("lab", "start", "master-3", "--images", w.images)
		w.must("lab", "start", "master-2", "--images", w.images)
		w.upAll(w.names(""))
		w.works(cluster, masters)
	})

	t.Run("the power of a joining master is cut in each phase", func(t *testing.T) {
		w := w.of(t)
		w.must("lab", "reimage", "master-3", "--images", w.images)
		from := 0
		// kubeadm's steps are said when they end. etcd ends once without and once with
		// the new member.
		for _, moment := range []string{`imgbuild: phase join start`, `imgbuild: kubeadm preflight `, `imgbuild: kubeadm check-etcd `,
			`imgbuild: kubeadm kubelet-start `, `imgbuild: kubeadm etcd \([1-9]`, `imgbuild: kubeadm mark-control-plane `,
			`imgbuild: phase api start`, `imgbuild: phase node start`} {
			line, _ := w.awaitOf("master-3", from, moment+`|imgbuild: ready `, 30*time.Minute)
			require.NotContains(t, line, "imgbuild: ready ", "it never came to %q", moment)
			w.must("lab", "kill", "master-3")
			from = len(w.consoleOf("master-3"))
			w.must("lab", "start", "master-3", "--images", w.images)
		}
		w.upAll(w.names(""))
		w.works(cluster, masters)
	})
}

// TestExternalEtcdCluster has etcd on machines of its own: with two cores all of
// them cannot join at once, so the members and the balancer come in random order
// and the nodes of Kubernetes one by one.
func TestExternalEtcdCluster(t *testing.T) {
	members, nodes := []string{"etcd-1", "etcd-2", "etcd-3"}, []string{"master-1", "worker-1", "master-2"}
	w := newHA(t, "external-etcd", machine{"etcd-1", "etcd", 41}, machine{"etcd-2", "etcd", 42}, machine{"etcd-3", "etcd", 43},
		machine{"lb-1", "lb", 21}, machine{"master-1", "master", 11}, machine{"master-2", "master", 12}, machine{"worker-1", "worker", 31})
	order, began := slices.DeleteFunc(w.shuffled(), func(name string) bool { return slices.Contains(nodes, name) }), time.Now()
	w.up(order, 30*time.Minute)
	for _, name := range nodes {
		w.start(name, 0)
		w.awaitOf(name, 0, `imgbuild: node ready`, 40*time.Minute)
	}
	w.upAll(append(order, nodes...))
	t.Logf("%s after the first power-on", time.Since(began).Round(time.Second))
	assert.True(t, w.status().ServiceTest.Passed)
	cluster := w.clusterID()
	w.works(cluster, members)

	t.Run("a member of etcd is installed anew", func(t *testing.T) {
		w := w.of(t)
		w.must("lab", "reimage", "etcd-2", "--images", w.images)
		w.upAll(w.names(""))
		w.works(cluster, members)
	})
}
