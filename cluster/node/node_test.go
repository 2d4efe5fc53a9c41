package node_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

func read(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return data
}

func TestDecode(t *testing.T) {
	n, err := node.Decode(read(t, "testdata/master.json"))
	require.NoError(t, err)
	assert.Equal(t, "master-1", n.Name)
	assert.True(t, n.InitMaster)
	assert.Equal(t, node.Endpoint{Host: "10.77.0.11", Port: 6443}, n.Endpoint)
	assert.Equal(t, map[string]string{"rack": "a1", "example.com/zone": ""}, n.Labels)
	assert.Equal(t, []string{"/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/ca.key"}, n.Secrets)
}

// What Go writes is what Decode reads, with nil lists and maps too.
func TestDecodeReadsWhatGoWrites(t *testing.T) {
	n, err := node.Decode(read(t, "testdata/master.json"))
	require.NoError(t, err)
	n.Secrets, n.Labels, n.Kubernetes.CertSANs = nil, nil, nil
	data, err := json.Marshal(n)
	require.NoError(t, err)
	back, err := node.Decode(data)
	require.NoError(t, err)
	assert.Equal(t, n, back)
}

// Each broken file says all that is wrong with it, a line for each.
func TestDecodeBroken(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			n, err := node.Decode(read(t, file))
			require.Error(t, err)
			assert.Zero(t, n)
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			got := err.Error() + "\n"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			assert.Equal(t, string(read(t, golden)), got, "accept a change with: go test ./cluster/node -update")
			for line := range strings.Lines(got) {
				assert.True(t, strings.HasPrefix(line, "node.json: "), line)
				assert.NotContains(t, line, "\x00")
			}
		})
	}
}

func TestDecodeRefusesWhatIsTooLargeOrNotText(t *testing.T) {
	_, err := node.Decode(bytes.Repeat([]byte(" "), 1<<20+1))
	assert.ErrorContains(t, err, "expected at most 1048576 bytes")
	_, err = node.Decode([]byte("{\"name\": \"\xff\"}"))
	assert.EqualError(t, err, "node.json: expected UTF-8 text")
}

func TestDecodeImage(t *testing.T) {
	image := node.Image{
		Role: "master", Plan: strings.Repeat("0a", 32), Base: "debian-13",
		Components: map[string]string{"kubernetes": "v1.36.3"},
		Images:     []string{"registry.k8s.io/pause:3.10.2"},
	}
	data, err := json.Marshal(image)
	require.NoError(t, err)
	got, err := node.DecodeImage(data)
	require.NoError(t, err)
	assert.Equal(t, image, got)

	_, err = node.DecodeImage([]byte(`{"role": "", "plan": "XX", "base": "", "components": {"etcd": ""}, "images": ["a b"]}`))
	assert.EqualError(t, err, `image.json: role: expected a-z, 0-9 and -, at most 63 letters, with a letter or digit at both ends, got ""
image.json: plan: expected 64 hex digits, got "XX"
image.json: base: expected a distribution release such as debian-13, got nothing
image.json: components.etcd: expected a component and its version, got ""
image.json: images[0]: expected the reference of a container image, got "a b"`)
	_, err = node.DecodeImage([]byte(`{"role": "lb", "role": "lb"}`))
	assert.ErrorContains(t, err, "image.json: role: expected once, got a second time\n")
	assert.ErrorContains(t, err, "image.json: plan: expected a string, but it is missing")
}

// Whatever the bytes are, Decode returns, and what it accepts is valid and
// survives being written and read again.
func FuzzDecode(f *testing.F) {
	files, _ := filepath.Glob("testdata/*/*.json")
	for _, file := range append(files, "testdata/master.json") {
		f.Add(read(f, file))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := node.Decode(data)
		if err != nil {
			assert.Zero(t, n)
			return
		}
		require.NoError(t, n.Validate())
		again, err := json.Marshal(n)
		require.NoError(t, err)
		back, err := node.Decode(again)
		require.NoError(t, err)
		assert.Equal(t, n, back)
	})
}

// FuzzDecodeImage is FuzzDecode for image.json.
func FuzzDecodeImage(f *testing.F) {
	for _, text := range []string{
		`{"role": "master", "plan": "` + strings.Repeat("0a", 32) + `", "base": "debian-13", "components": {"etcd": "v3.6.8"}, "images": ["registry.k8s.io/pause:3.10.2"]}`,
		`{"role": "", "plan": "XX", "base": "", "components": {"etcd": ""}, "images": ["a b"]}`,
		`{"role": "lb", "role": "lb"}`, `{"images": null, "components": null}`, `[]`, `null`, ``,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := node.DecodeImage(data)
		if err != nil {
			assert.Zero(t, i)
			return
		}
		require.NoError(t, i.Validate())
		again, err := json.Marshal(i)
		require.NoError(t, err)
		back, err := node.DecodeImage(again)
		require.NoError(t, err)
		assert.Equal(t, i, back)
	})
}
