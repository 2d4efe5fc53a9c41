package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	contract "imgbuild/cluster/node"
)

// endpoint is the API's address in every cluster of many machines.
const endpoint = "10.77.0.10"

// machine is a line of cluster.yaml; number ends its MAC and its address.
type machine struct {
	name, role string
	number     int
}

func (m machine) mac() string { return fmt.Sprintf("52:54:00:77:00:%02d", m.number) }

// size is what the machine has, where its role can do with less than the others.
func (m machine) size() string {
	switch m.role {
	case "lb":
		return ", cpus: 1, memory: 1GiB, disk: 5GB"
	case "etcd":
		return ", cpus: 1, memory: 1GiB, disk: 15GB"
	case "harbor":
		return ", cpus: 1, memory: 1GiB, disk: 15GB, dataDisk: {path: /dev/disk/by-id/virtio-images, size: 15GB}"
	case "rook":
		return rawDisks
	}
	return ""
}

// ha is a lab of many machines.
type ha struct {
	*world
	machines []machine
}

// newHA makes the images of a cluster of many machines, which are off.
func newHA(t *testing.T, topology string, machines ...machine) *ha {
	t.Helper()
	return newHAWith(t, topology, "", machines...)
}

// newHAWith has more lines in its cluster.yaml.
func newHAWith(t *testing.T, topology, more string, machines ...machine) *ha {
	t.Helper()
	onlyTestHA(t)
	return newMachines(t, topology, more, []string{"all"}, machines...)
}

// onlyTestHA skips what would not let make test end in time on a slow machine
// without KVM.
func onlyTestHA(t *testing.T) {
	t.Helper()
	if os.Getenv("IMGBUILD_TEST_HA") == "" {
		t.Skip("takes too long for make test without KVM: make test-ha")
	}
}

// newMachines makes the images of some roles.
func newMachines(t *testing.T, topology, more string, roles []string, machines ...machine) *ha {
	t.Helper()
	w := &ha{world: inFolder(t, t.TempDir(), topology), machines: machines}
	require.NoError(t, w.buildPrograms())
	w.downAtEnd(w.names("")...)
	yaml := w.must("init", "--topology", topology)
	head, _, found := strings.Cut(yaml, "\nnodes:\n")
	require.True(t, found)
	head = regexp.MustCompile(`(?m)^name: .*`).ReplaceAllString(head, "name: "+w.name)
	// The template's own registry and storage are not of these machines.
	head = regexp.MustCompile(`(?m)^(registry|rook):\n([ #].*\n)+`).ReplaceAllString(head, "")
	// Emulated machines that share two cores are slow, not broken.
	head = strings.NewReplacer("size: production", "size: test", "api: 10m", "api: 40m", "etcd: 10m", "etcd: 40m", "heartbeat: 100ms", "heartbeat: 1s").Replace(head)
	text := head + "\n" + more + "ssh: {authorizedKeys: [\"" + w.makeKey() + "\"]}\nnodes:\n"
	for _, m := range machines {
		text += fmt.Sprintf("  - {name: %s, role: %s, mac: %q, address: 10.77.0.%d%s}\n", m.name, m.role, m.mac(), m.number, m.size())
	}
	memory := "3GiB"
	if strings.Contains(more, "rook:") {
		memory = "4GiB" // an API server keeps in memory what Rook defines
	}
	text += "lab: {cpus: 2, memory: " + memory + ", disk: 8GiB}\n"
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "cluster.yaml"), []byte(text), 0o644))
	w.must("lock")
	w.must(append(append([]string{"role"}, roles...), "--out", w.images)...)
	return w
}

// makeKey makes a key that lets the test in, and returns its public half.
func (w *ha) makeKey() string {
	w.t.Helper()
	output(w.t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", filepath.Join(w.dir, "key"))
	public, err := os.ReadFile(filepath.Join(w.dir, "key.pub"))
	require.NoError(w.t, err)
	return strings.TrimSpace(string(public))
}

// ssh runs a command on a machine.
func (w *ha) ssh(machine, command string) string {
	w.t.Helper()
	for _, m := range w.machines {
		if m.name == machine {
			return output(w.t, "ip", "netns", "exec", "imgbuild-"+w.name, "ssh", "-q", "-i", filepath.Join(w.dir, "key"), "-o", "ConnectTimeout=60",
				"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", fmt.Sprintf("root@10.77.0.%d", m.number), command)
		}
	}
	require.Fail(w.t, "no machine "+machine)
	return ""
}

// kubectl asks the API, which may be too busy for an answer for minutes.
func (w *ha) kubectl(args ...string) string {
	w.t.Helper()
	var out string
	require.EventuallyWithT(w.t, func(c *assert.CollectT) {
		var err error
		out, err = w.run(w.t.Context(), append([]string{"lab", "kubectl", "--"}, args...)...)
		if err != nil && !strings.Contains(err.Error(), "Unable to connect") && !strings.Contains(err.Error(), "timeout") {
			require.NoError(w.t, err)
		}
		assert.NoError(c, err)
	}, 10*time.Minute, time.Second)
	return out
}

// of is the same lab for a part of the test, which may fail on its own.
func (w *ha) of(t *testing.T) *ha {
	inner := *w.world
	inner.t = t
	return &ha{world: &inner, machines: w.machines}
}

// names are those of the machines of a role, or of all.
func (w *ha) names(role string) []string {
	var names []string
	for _, m := range w.machines {
		if role == "" || m.role == role {
			names = append(names, m.name)
		}
	}
	return names
}

// shuffled are all machines in an order that no other run has. Those that are
// named come before them.
func (w *ha) shuffled(first ...string) []string {
	var rest []string
	for _, name := range w.names("") {
		if !slices.Contains(first, name) {
			rest = append(rest, name)
		}
	}
	rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	return append(first, rest...)
}

// start gives a machine its power, with a clock that is ahead of the host's.
func (w *ha) start(name string, ahead time.Duration) {
	w.t.Helper()
	w.must("lab", "start", name, "--images", w.images, "--clock", ahead.String())
}

// up turns machines on in that order and returns when these are ready.
func (w *ha) up(order []string, patience time.Duration) {
	w.t.Helper()
	w.must("lab", "up", "--images", w.images, "--nodes", strings.Join(order, ","), "--timeout", patience.String())
}

// upAll returns when all machines are ready.
func (w *ha) upAll(order []string) {
	w.t.Helper()
	began := time.Now()
	w.up(order, 80*time.Minute)
	w.t.Logf("all machines are ready after %s, in the order %s", time.Since(began).Round(time.Second), strings.Join(order, ", "))
	for _, n := range w.status().Nodes {
		assert.True(w.t, n.Ready, n.Name)
		w.t.Logf("%-9s %s", n.Name, milestones(n.Seconds))
	}
}

// milestones are seconds since power-on, as lab status tells them.
func milestones(all map[string]*float64) string {
	var text []string
	for _, name := range []string{"kernel", "initramfs", "ignition", "agent", "api", "nodeReady", "serviceTest", "ready"} {
		if s := all[name]; s != nil {
			text = append(text, fmt.Sprintf("%s %.0f", name, *s))
		}
	}
	return strings.Join(text, "  ")
}

// works asserts what every scenario must end with: all nodes of Kubernetes are
// Ready, etcd has the voters that it should have, and it is still that cluster.
func (w *ha) works(cluster string, voters []string) {
	w.t.Helper()
	nodes := w.must("lab", "kubectl", "--", "get", "nodes", "--no-headers")
	w.t.Log("\n" + nodes)
	assert.Len(w.t, strings.Split(strings.TrimSpace(nodes), "\n"), len(w.names("master"))+len(w.names("worker")))
	assert.NotContains(w.t, nodes, "NotReady")
	assert.Equal(w.t, cluster, w.clusterID(), "the same cluster")
	members := w.members(voters)
	w.t.Log("\n" + members)
	for _, name := range voters {
		assert.Regexp(w.t, `started, `+name+`, .*, false`, members)
	}
	assert.Len(w.t, strings.Split(strings.TrimSpace(members), "\n"), len(voters))
}

// members are etcd's, as the first of them that answers knows them.
func (w *ha) members(voters []string) string {
	w.t.Helper()
	if strings.HasPrefix(voters[0], "master") {
		return w.must("lab", "kubectl", "--", "-n", "kube-system", "exec", "etcd-"+voters[0], "--", "etcdctl", "--dial-timeout=30s", "--command-timeout=60s",
			"--cacert=/etc/kubernetes/pki/etcd/ca.crt", "--cert=/etc/kubernetes/pki/etcd/server.crt", "--key=/etc/kubernetes/pki/etcd/server.key", "member", "list")
	}
	dir := w.t.TempDir()
	w.must("ignition", "--out", dir)
	config := readConfig(w.t, filepath.Join(dir, voters[0]+".ign"))
	for _, name := range []string{"ca.crt", "server.crt", "server.key"} {
		text := contents(w.t, config.Storage.Files[indexOf(w.t, &config, contract.EtcdPKI+"/"+name)])
		require.NoError(w.t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	var last error
	for _, m := range w.machines {
		if m.role != "etcd" {
			continue
		}
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, "ip", "netns", "exec", "imgbuild-"+w.name, filepath.Join(w.component("etcd", w.cache), "bin", "etcdctl"),
			"--endpoints", fmt.Sprintf("https://10.77.0.%d:2379", m.number),
			"--cacert", filepath.Join(dir, "ca.crt"), "--cert", filepath.Join(dir, "server.crt"), "--key", filepath.Join(dir, "server.key"), "member", "list")
		out, err := cmd.CombinedOutput()
		cancel()
		if err == nil {
			return string(out)
		}
		last = fmt.Errorf("%w: %s", err, out)
	}
	require.NoError(w.t, last)
	return ""
}

// holder is the machine that answers at the API's address.
func (w *ha) holder() string {
	w.t.Helper()
	w.answers()
	out := output(w.t, "ip", "-n", "imgbuild-"+w.name, "neighbour", "show", endpoint)
	for _, m := range w.machines {
		if strings.Contains(out, m.mac()) {
			return m.name
		}
	}
	require.Fail(w.t, "no machine has the API's address", out)
	return ""
}

// answers tells whether the API does, at its address.
func (w *ha) answers() bool {
	_, err := w.run(w.t.Context(), "lab", "kubectl", "--", "get", "--raw", "/readyz", "--request-timeout=5s")
	return err == nil
}

// gap does something and returns for how long the API did not answer then: the
// longest time between two answers, until it has answered ten times in a row.
func (w *ha) gap(do func()) time.Duration {
	w.t.Helper()
	require.Eventually(w.t, w.answers, 5*time.Minute, time.Second, "the API answers before")
	last, longest := time.Now(), time.Duration(0)
	do()
	deadline := time.Now().Add(15 * time.Minute)
	for row := 0; row < 10; {
		require.True(w.t, time.Now().Before(deadline), "the API does not answer any more")
		if !w.answers() {
			row = 0
			continue
		}
		row++
		longest, last = max(longest, time.Since(last)), time.Now()
	}
	return longest.Round(100 * time.Millisecond)
}
