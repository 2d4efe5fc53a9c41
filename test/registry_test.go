package test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pushedImage is one that nobody else has, by a name of a registry that no
// machine of the lab can reach.
const pushedImage = "docker.io/imgbuild-test/version:1"

// TestRegistry powers on a registry and a master, copies an image into the
// registry while its power is cut, and runs it on the master.
func TestRegistry(t *testing.T) {
	w := newHAWith(t, "single", "registry: {kind: distribution}\n", machine{"master-1", "master", 11}, machine{"harbor-1", "harbor", 51})
	w.upAll([]string{"harbor-1", "master-1"})
	assert.True(t, w.status().ServiceTest.Passed)

	image := w.imageOf(filepath.Join(w.dir, "imgbuild-firstboot"), 150<<20)
	seed := w.inside("seed", pushedImage+"="+image, "--verify", "--timeout", "15m")
	var said bytes.Buffer
	seed.Stderr, seed.Stdout = &said, &said
	require.NoError(t, seed.Start())
	// The upload has begun when the registry's disk fills.
	w.sending("harbor-1", 20<<20)
	w.must("lab", "kill", "harbor-1")
	w.must("lab", "start", "harbor-1", "--images", w.images)
	require.NoError(t, seed.Wait(), said.String())
	t.Log(said.String())
	assert.Contains(t, said.String(), "waiting for the registry", "the push was interrupted")

	// Nothing is sent a second time, and all of it is read back.
	out, err := w.inside("seed", pushedImage+"="+image, "--verify").CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), "10.77.0.51:443/docker.io/imgbuild-test/version:1")

	w.must("lab", "kubectl", "--", "run", "version", "--image", pushedImage, "--restart=Never", "--", "version")
	w.must("lab", "kubectl", "--", "wait", "pod/version", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=10m")
	w.must("lab", "kubectl", "--", "run", "nowhere", "--image", "docker.io/imgbuild-test/nowhere:1", "--restart=Never")
	w.must("lab", "kubectl", "--", "wait", "pod/nowhere", "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImagePull", "--timeout=5m")
	events := w.must("lab", "kubectl", "--", "get", "events", "--field-selector", "involvedObject.name=nowhere", "-o", "jsonpath={.items[*].message}")
	assert.Contains(t, events, "docker.io/imgbuild-test/nowhere:1: not found", "the registry says so, and nobody else is asked")
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
	size := func() int64 {
		disks, err := filepath.Glob(filepath.Join(w.cache, "lab", w.name, machine, "*.qcow2"))
		require.NoError(w.t, err)
		var sum int64
		for _, disk := range disks {
			info, err := os.Stat(disk)
			require.NoError(w.t, err)
			sum += info.Size()
		}
		return sum
	}
	before := size()
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
	defer cancel()
	for size() < before+bytes {
		select {
		case <-ctx.Done():
			require.FailNow(w.t, "nothing is written to the disk of "+machine)
		case <-time.After(20 * time.Millisecond):
		}
	}
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
