package test

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/manifest"
)

// TestAMachineBecomesACluster is the life of one master: its first boot with
// power cuts on the way, a cluster that works, and a reboot.
func TestAMachineBecomesACluster(t *testing.T) {
	w := newWorld(t)
	secondBuildDoesNothing(w)

	// The power goes at the start of each of these, and comes back.
	w.must("lab", "start", node, "--images", w.images)
	from := 0
	for _, moment := range cuts() {
		w.await(from, moment, 15*time.Minute)
		w.must("lab", "kill", node)
		from = len(w.console())
		w.must("lab", "start", node, "--images", w.images)
	}
	w.up(w.images)

	s := w.status()
	assert.True(t, s.Nodes[0].Ready)
	assert.True(t, s.ServiceTest.Passed)
	assert.Len(t, s.ServiceTest.Checks, 3)
	assert.Contains(t, w.must("lab", "kubectl", "--", "get", "nodes"), node+"   Ready")
	console := w.console()
	assert.Contains(t, console, "probe: /usr is read-only")
	assert.Contains(t, console, "probe: /etc is writable")
	assert.Contains(t, console, "probe: /var is writable")
	cas := probed(console, "ca", "[0-9a-f]{64}")
	assert.GreaterOrEqual(t, len(cas), 2)
	assert.Len(t, distinct(cas), 1, "the same CA in every boot")

	// A reboot finds everything done.
	w.must("lab", "kill", node)
	from = len(w.console())
	w.must("lab", "start", node, "--images", w.images)
	w.up(w.images)
	again := w.console()[from:]
	assert.Contains(t, again, "Ignition has run before")
	assert.NotContains(t, again, "imgbuild: kubeadm init")
	w.identity()
}

// TestAFreshDisk with the same config is a new machine and a new cluster, with the
// same CA.
func TestAFreshDisk(t *testing.T) {
	onlyTestHA(t)
	w := newWorld(t)
	w.up(w.images)
	machine, ca := w.identity()
	cluster := w.clusterID()

	w.must("lab", "reimage", node, "--images", w.images)
	w.up(w.images)
	assert.Contains(t, w.console(), "first boot")
	assert.Contains(t, w.console(), "imgbuild: service test passed")
	assert.NotEqual(t, cluster, w.clusterID())
	otherMachine, sameCA := w.identity()
	assert.NotEqual(t, machine, otherMachine)
	assert.Equal(t, ca, sameCA)
}

// identity is the machine's id and its cluster's CA, each the same in all boots.
func (w *world) identity() (machine, ca string) {
	w.t.Helper()
	machines := distinct(probed(w.console(), "machine-id", "[0-9a-f]{32}"))
	require.Len(w.t, machines, 1, "the same machine in every boot")
	cas := distinct(probed(w.console(), "ca", "[0-9a-f]{64}"))
	require.Len(w.t, cas, 1, "the same CA in every boot")
	return machines[0], cas[0]
}

// cuts are the moments of the power cuts: all of them where IMGBUILD_TEST_FAULTS
// is set, which takes an hour without KVM, else some of the worst.
func cuts() []string {
	if os.Getenv("IMGBUILD_TEST_FAULTS") == "" {
		return []string{`imgbuild: platform: `, `imgbuild: kubeadm certs `, `imgbuild: kubeadm kubelet-check `}
	}
	return []string{
		`imgbuild: state: grew`, `imgbuild: platform: `, `imgbuild: ignition done`, `imgbuild: agent start`,
		`imgbuild: phase containerd start`, `imgbuild: phase init start`, `imgbuild: kubeadm preflight `,
		`imgbuild: kubeadm certs `, `imgbuild: kubeadm control-plane `, `imgbuild: kubeadm wait-control-plane `,
		`imgbuild: kubeadm kubelet-check `, `imgbuild: kubeadm upload-config `, `imgbuild: kubeadm bootstrap-token `,
		`imgbuild: phase coredns start`, `imgbuild: phase network start`, `imgbuild: phase addons start`,
		`imgbuild: phase node start`, `imgbuild: phase service-test start`, `imgbuild: check clusterip `,
	}
}

// probed are the values that the probe has told. A line that the kernel has
// written into does not have the form and does not count.
func probed(console, name, form string) []string {
	var values []string
	for _, m := range regexp.MustCompile(`probe: `+name+` (`+form+`)\b`).FindAllStringSubmatch(console, -1) {
		values = append(values, m[1])
	}
	return values
}

func distinct(values []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(values)))
}

func secondBuildDoesNothing(w *world) {
	start := time.Now()
	out := w.must("role", "master", "--roles", "roles", "--out", w.images)
	assert.Contains(w.t, out, "nothing to do")
	w.t.Logf("a build with nothing changed: %s", time.Since(start).Round(time.Millisecond))
	left, err := os.ReadDir(w.images)
	require.NoError(w.t, err)
	var names []string
	for _, f := range left {
		names = append(names, f.Name())
	}
	assert.Equal(w.t, []string{"master.manifest.json", "master.raw", "master.spdx.json"}, names)
	assert.Contains(w.t, w.must("inspect", filepath.Join(w.images, "master.raw")), "verified    yes")
}

// TestATamperedRootDoesNotRun flips one byte of the root partition in a copy.
func TestATamperedRootDoesNotRun(t *testing.T) {
	w := newWorld(t)
	bad := t.TempDir()
	copySparse(t, filepath.Join(w.images, "master.raw"), filepath.Join(bad, "master.raw"))
	m, err := manifest.Read(manifest.File(w.images, "master"))
	require.NoError(t, err)
	root := m.Partitions[1]
	require.Equal(t, "root-a", root.Name)
	// The super block: every boot reads it.
	flip(t, filepath.Join(bad, "master.raw"), root.Start+1024+20)

	_, err = w.run(t.Context(), "lab", "up", "--images", bad, "--timeout", "10m")
	require.Error(t, err)
	assert.Regexp(t, `corrupt|dm-verity|verity`, err.Error())
	assert.NotContains(t, w.console(), "imgbuild: agent start")
	data, err := os.ReadFile(manifest.File(w.images, "master"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(manifest.File(bad, "master"), data, 0o644))
	_, err = w.run(t.Context(), "inspect", filepath.Join(bad, "master.raw"))
	assert.ErrorContains(t, err, "partition 2 (root-a): its content has SHA-256")
}

func flip(t *testing.T, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{b[0] ^ 1}, at)
	require.NoError(t, err)
}

func copySparse(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close()
	out, err := os.Create(to)
	require.NoError(t, err)
	defer out.Close()
	block, zeros := make([]byte, 1<<20), string(make([]byte, 1<<20))
	for at := int64(0); ; at += int64(len(block)) {
		n, err := io.ReadFull(in, block)
		if n > 0 && string(block[:n]) != zeros[:n] {
			_, err := out.WriteAt(block[:n], at)
			require.NoError(t, err)
		}
		if err != nil {
			require.NoError(t, out.Truncate(at+int64(n)))
			return
		}
	}
}
