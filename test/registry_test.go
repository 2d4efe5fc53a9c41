package test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder"
)

// pushedImage is one that nobody else has, by a name of a registry that no
// machine of the lab can reach.
const pushedImage = "docker.io/imgbuild-test/version:1"

// storageYAML is what TestRegistry has in its cluster.yaml besides machines.
// Emulated machines that share two cores are slow, not broken.
const storageYAML = `registry: {kind: distribution, seeded: true}
timeouts: {api: 40m, etcd: 40m, heartbeat: 1s}
rook: {images: registry, apply: true}
`

// rawDisks of the storage node: an empty one, and one with somebody's files.
const rawDisks = ", disks: [{path: /dev/disk/by-id/virtio-empty, kind: ssd, size: 10GB}, {path: /dev/disk/by-id/virtio-payroll, kind: ssd, size: 10GB}]"

// TestRegistry powers on a registry, a master and a storage node, copies an image
// into the registry while its power is cut, and runs it on both nodes. Nobody
// can reach the registry that the image's name is of.
func TestRegistry(t *testing.T) {
	w := newHAWith(t, "single", storageYAML, machine{"master-1", "master", 11}, machine{"harbor-1", "harbor", 51}, machine{"rook-1", "rook", 61})
	empty, payroll := w.rawDisk("rook-1", "empty"), w.rawDisk("rook-1", "payroll")
	output(t, "mkfs.ext4", "-q", "-L", "payroll", payroll)
	before := []string{fileSum(t, empty), fileSum(t, payroll)}
	w.upAll([]string{"harbor-1", "master-1", "rook-1"})
	assert.True(t, w.status().ServiceTest.Passed)

	t.Run("the registry has the cluster's images since it was turned on", func(t *testing.T) {
		w := w.of(t)
		assert.Contains(t, w.consoleOf("harbor-1"), "imgbuild: data disk /dev/disk/by-id/virtio-images is empty: making a file system")
		assert.Contains(t, w.ssh("harbor-1", "findmnt -n -o SOURCE,FSTYPE /var/lib/private/registry"), "ext4")
		before := w.used("harbor-1")
		out, err := w.inside("seed", "--verify").CombinedOutput()
		require.NoError(t, err, string(out))
		t.Log(string(out))
		assert.Contains(t, string(out), "10.77.0.51:443/registry.k8s.io/kube-apiserver:v1.36.3")
		assert.Less(t, w.used("harbor-1")-before, int64(10<<20), "nothing was sent: the digests are those of the image")
	})
	t.Run("the storage node is one, and its disks are left alone", func(t *testing.T) {
		w := w.of(t)
		w.storageNode()
		assert.Equal(t, before, []string{fileSum(t, empty), fileSum(t, payroll)}, "not a byte of a raw disk has changed")
	})
	t.Run("the registry's power is cut during an upload", func(t *testing.T) {
		w := w.of(t)
		w.seedThroughPowerCut(w.imageOf(filepath.Join(w.dir, "imgbuild-firstboot"), 60<<20))
	})
	t.Run("both nodes run what was pushed", func(t *testing.T) {
		w := w.of(t)
		for _, node := range []string{"master-1", "rook-1"} {
			overrides := fmt.Sprintf(`{"spec": {"nodeName": %q, "tolerations": [{"operator": "Exists"}]}}`, node)
			w.kubectl("run", "version-"+node, "--image", pushedImage, "--restart=Never", "--overrides", overrides, "--", "version")
			w.kubectl("wait", "pod/version-"+node, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=10m")
		}
		w.kubectl("run", "nowhere", "--image", "docker.io/imgbuild-test/nowhere:1", "--restart=Never")
		w.kubectl("wait", "pod/nowhere", "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImagePull", "--timeout=5m")
		events := w.kubectl("get", "events", "--field-selector", "involvedObject.name=nowhere", "-o", "jsonpath={.items[*].message}")
		assert.Contains(t, events, "docker.io/imgbuild-test/nowhere:1: not found", "the registry says so, and nobody else is asked")
	})
	t.Run("a wrong password is said", func(t *testing.T) {
		w := w.of(t)
		w.wrongSecrets(w.imageOf(filepath.Join(w.dir, "imgbuild-firstboot"), 1<<10))
	})
	t.Run("the registry's disk is full", func(t *testing.T) {
		w := w.of(t)
		w.fullDisk(w.imageOf(filepath.Join(w.dir, "imgbuild-firstboot"), 80<<20))
	})
}

// storageNode asserts what makes a node one for Ceph.
func (w *ha) storageNode() {
	w.t.Helper()
	t := w.t
	console := w.consoleOf("rook-1")
	assert.Contains(t, console, "imgbuild: disk /dev/disk/by-id/virtio-empty empty (10 GB)")
	assert.Contains(t, console, "imgbuild: disk /dev/disk/by-id/virtio-payroll used (10 GB, holds ext4 (payroll): it is left alone, Ceph does not get it)")
	assert.Equal(t, "storage-node", w.kubectl("get", "node", "rook-1", "-o", "jsonpath={.metadata.labels.role}"))
	assert.Equal(t, "storage-node=true:NoSchedule", w.kubectl("get", "node", "rook-1", "-o",
		"jsonpath={range .spec.taints[*]}{.key}={.value}:{.effect}{end}"))
	lsblk := w.ssh("rook-1", "lsblk -f -n -o FSTYPE,LABEL /dev/disk/by-id/virtio-empty /dev/disk/by-id/virtio-payroll")
	assert.Equal(t, []string{"ext4", "payroll"}, strings.Fields(lsblk))
	assert.Contains(t, w.ssh("rook-1", "lvm version"), "LVM version")
	modules := w.ssh("rook-1", "cut -d' ' -f1 /proc/modules")
	assert.Contains(t, strings.Fields(modules), "rbd")
	assert.Contains(t, strings.Fields(modules), "ceph")
	assert.Contains(t, w.ssh("rook-1", "findmnt -n -o TARGET -T /var/lib/rook"), "/var", "on the state partition")

	// What cluster.yaml lets the first master apply.
	assert.Equal(t, "/dev/disk/by-id/virtio-empty /dev/disk/by-id/virtio-payroll", w.kubectl("-n", "rook-ceph", "get", "cephcluster", "rook-ceph", "-o",
		"jsonpath={.spec.storage.nodes[?(@.name=='rook-1')].devices[*].name}"))
	w.kubectl("-n", "rook-ceph", "get", "deployment", "rook-ceph-operator", "ceph-csi-controller-manager")
}

// seedThroughPowerCut copies an image while the registry loses its power, and
// reads all of it back.
func (w *ha) seedThroughPowerCut(image string) {
	w.t.Helper()
	seed := w.inside("seed", pushedImage+"="+image, "--verify", "--timeout", "15m")
	var said bytes.Buffer
	seed.Stderr, seed.Stdout = &said, &said
	require.NoError(w.t, seed.Start())
	// The upload has begun when the registry's disk fills.
	w.sending("harbor-1", 10<<20)
	w.must("lab", "kill", "harbor-1")
	w.must("lab", "start", "harbor-1", "--images", w.images)
	require.NoError(w.t, seed.Wait(), said.String())
	w.t.Log(said.String())
	assert.Contains(w.t, said.String(), "waiting for the registry", "the push was interrupted")

	// Nothing is sent a second time, and all of it is read back.
	out, err := w.inside("seed", pushedImage+"="+image, "--verify").CombinedOutput()
	require.NoError(w.t, err, string(out))
	assert.Contains(w.t, string(out), "10.77.0.51:443/docker.io/imgbuild-test/version:1")
}

// wrongSecrets pushes with the secrets of another cluster: its CA has not signed
// the registry's certificate.
func (w *ha) wrongSecrets(image string) {
	w.t.Helper()
	other := w.t.TempDir()
	text, err := os.ReadFile(filepath.Join(w.dir, "cluster.yaml"))
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(filepath.Join(other, "cluster.yaml"), text, 0o644))
	imgbuild := filepath.Join(w.dir, "imgbuild")
	for _, args := range [][]string{{"secrets"}, {"seed", "docker.io/imgbuild-test/other:1=" + image, "--timeout", "1m"}} {
		cmd := exec.CommandContext(w.t.Context(), "ip", append([]string{"netns", "exec", "imgbuild-" + w.name, imgbuild, "-c", filepath.Join(other, "cluster.yaml")}, args...)...)
		cmd.Env = append(os.Environ(), "IMGBUILD_AGE_IDENTITY="+filepath.Join(other, "identity.txt"))
		out, err := cmd.CombinedOutput()
		if args[0] == "secrets" {
			require.NoError(w.t, err, string(out))
			continue
		}
		assert.Error(w.t, err)
		assert.Contains(w.t, string(out), "certificate signed by unknown authority")
	}
}

// fullDisk pushes more than the registry's disk holds.
func (w *ha) fullDisk(image string) {
	w.t.Helper()
	w.ssh("harbor-1", "fallocate -l $(($(stat -f -c '%a*%S' /var/lib/private/registry) - (30<<20))) /var/lib/private/registry/ballast")
	out, err := w.inside("seed", "docker.io/imgbuild-test/large:1="+image, "--timeout", "2m").CombinedOutput()
	assert.Error(w.t, err)
	w.t.Log(string(out))
	assert.Contains(w.t, string(out), "no space left")
	w.ssh("harbor-1", "rm /var/lib/private/registry/ballast")
	out, err = w.inside("seed", "docker.io/imgbuild-test/large:1="+image, "--verify").CombinedOutput()
	require.NoError(w.t, err, string(out))
}

// rawDisk makes a raw disk of a machine before it is ever on.
func (w *ha) rawDisk(machine, serial string) string {
	w.t.Helper()
	file := filepath.Join(w.cache, "lab", w.name, machine, "raw-"+serial+".img")
	require.NoError(w.t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(w.t, os.WriteFile(file, nil, 0o600))
	require.NoError(w.t, os.Truncate(file, 10_000_000_000))
	return file
}

func fileSum(t *testing.T, file string) string {
	t.Helper()
	sum, err := builder.SumFile(file)
	require.NoError(t, err)
	return sum
}

// inside is imgbuild in the lab's network.
func (w *ha) inside(args ...string) *exec.Cmd {
	args = append([]string{"netns", "exec", "imgbuild-" + w.name, filepath.Join(w.dir, "imgbuild"), "-c", filepath.Join(w.dir, "cluster.yaml")}, args...)
	cmd := exec.CommandContext(w.t.Context(), "ip", args...)
	cmd.Env = append(os.Environ(), "IMGBUILD_AGE_IDENTITY="+filepath.Join(w.dir, "identity.txt"))
	return cmd
}

// sending returns when a machine's disk has grown by so many bytes.
func (w *ha) sending(machine string, bytes int64) {
	w.t.Helper()
	before := w.used(machine)
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
	defer cancel()
	for w.used(machine) < before+bytes {
		select {
		case <-ctx.Done():
			require.FailNow(w.t, "nothing is written to the disk of "+machine)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// used is what a machine's disks take on this one.
func (w *ha) used(machine string) int64 {
	w.t.Helper()
	var sum int64
	for _, pattern := range []string{"*.qcow2", "raw-*.img"} {
		disks, err := filepath.Glob(filepath.Join(w.cache, "lab", w.name, machine, pattern))
		require.NoError(w.t, err)
		for _, disk := range disks {
			var info syscall.Stat_t
			require.NoError(w.t, syscall.Stat(disk, &info))
			sum += info.Blocks * 512
		}
	}
	return sum
}

// imageOf is an OCI layout with a program, and a layer of noise as large as that.
func (w *ha) imageOf(program string, noise int64) string {
	w.t.Helper()
	image := empty.Image
	add := func(name string, size int64, mode int64, content io.Reader) {
		var archive bytes.Buffer
		out := tar.NewWriter(&archive)
		require.NoError(w.t, out.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: size}))
		_, err := io.CopyN(out, content, size)
		require.NoError(w.t, err)
		require.NoError(w.t, out.Close())
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
		require.NoError(w.t, err)
		image, err = mutate.AppendLayers(image, layer)
		require.NoError(w.t, err)
	}
	data, err := os.ReadFile(program)
	require.NoError(w.t, err)
	add("program", int64(len(data)), 0o755, bytes.NewReader(data))
	add("noise", noise, 0o644, rand.Reader)
	image, err = mutate.Config(image, v1.Config{Entrypoint: []string{"/program"}})
	require.NoError(w.t, err)
	dir := w.t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	require.NoError(w.t, err)
	require.NoError(w.t, p.AppendImage(image, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"})))
	return strings.TrimSuffix(dir, "/")
}
