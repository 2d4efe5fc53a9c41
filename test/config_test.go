package test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ignition "github.com/coreos/ignition/v2/config/v3_4/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vincent-petithory/dataurl"

	contract "imgbuild/cluster/node"
	rendered "imgbuild/ignition"
)

// TestAWrongConfigStopsWithOneLine: a machine that was given the wrong config
// says so once on its console, and has not begun anything.
func TestAWrongConfigStopsWithOneLine(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, c *ignition.Config)
		says  string
	}{
		{"a wrong role", editNode(`"role": "master"`, `"role": "worker"`, `"initMaster": true`, `"initMaster": false`),
			"node master-1 has the role worker, but the image is for master: boot it with the image of its role"},
		{"an unknown field", editNode(`"topology"`, `"colour": "red", "topology"`),
			`/etc/imgbuild/node.json is not valid: node.json: colour: unknown field: expected one of version, cluster, name,`},
		{"a missing secret", withoutFile("/etc/kubernetes/pki/sa.key"),
			"secret /etc/kubernetes/pki/sa.key is missing"},
	} {
		configs := t.TempDir()
		w.must("ignition", "--out", configs)
		rewrite(t, filepath.Join(configs, node+".ign"), test.spoil)
		w.must("lab", "reimage", node, "--images", w.images, "--configs", configs)
		line, _ := w.await(0, `imgbuild: stop: .*`, 10*time.Minute)
		assert.Contains(t, line, test.says, test.name)
		_, _ = w.await(0, `probe: done`, 5*time.Minute)
		console := w.console()
		assert.Equal(t, 1, strings.Count(console, "imgbuild: stop: "), test.name)
		assert.NotContains(t, console, "imgbuild: phase kubelet", test.name)
		assert.NotContains(t, console, "imgbuild: kubeadm", test.name)
		assert.Contains(t, console, "probe: static pods none", test.name)
		s := w.status()
		assert.Equal(t, "stopped", s.Nodes[0].Phase, test.name)
	}
}

func readConfig(t *testing.T, file string) ignition.Config {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var c ignition.Config
	require.NoError(t, json.Unmarshal(data, &c))
	return c
}

// rewrite changes a config as its reader would see it.
func rewrite(t *testing.T, file string, change func(*testing.T, *ignition.Config)) {
	t.Helper()
	c := readConfig(t, file)
	change(t, &c)
	data, err := json.Marshal(c)
	require.NoError(t, err)
	require.NoError(t, rendered.WriteFile(t.Context(), file, data))
}

// editNode replaces texts of node.json: pairs of old and new.
func editNode(oldnew ...string) func(*testing.T, *ignition.Config) {
	return func(t *testing.T, c *ignition.Config) {
		t.Helper()
		f := &c.Storage.Files[indexOf(t, c, contract.Path)]
		text := contents(t, *f)
		for i := 0; i < len(oldnew); i += 2 {
			require.Contains(t, text, oldnew[i])
		}
		source := "data:," + url.PathEscape(strings.NewReplacer(oldnew...).Replace(text))
		f.Contents = ignition.Resource{Source: &source}
	}
}

func withoutFile(path string) func(*testing.T, *ignition.Config) {
	return func(t *testing.T, c *ignition.Config) {
		t.Helper()
		i := indexOf(t, c, path)
		c.Storage.Files = slices.Delete(c.Storage.Files, i, i+1)
	}
}

func indexOf(t *testing.T, c *ignition.Config, path string) int {
	t.Helper()
	i := slices.IndexFunc(c.Storage.Files, func(f ignition.File) bool { return f.Path == path })
	require.GreaterOrEqual(t, i, 0, "the config has no %s", path)
	return i
}

// contents are what Ignition will write to a file.
func contents(t *testing.T, f ignition.File) string {
	t.Helper()
	source, err := dataurl.DecodeString(*f.Contents.Source)
	require.NoError(t, err)
	if f.Contents.Compression == nil || *f.Contents.Compression == "" {
		return string(source.Data)
	}
	r, err := gzip.NewReader(bytes.NewReader(source.Data))
	require.NoError(t, err)
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(text)
}
