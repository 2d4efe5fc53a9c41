package ignition

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_4"
	"github.com/coreos/ignition/v2/config/v3_4/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster"
	"imgbuild/cluster/node"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

type directory = types.Directory

// load reads a cluster.yaml of testdata.
func load(t *testing.T, name string) *cluster.Cluster {
	t.Helper()
	c, problems := cluster.Load("testdata/" + name + ".yaml")
	require.NoError(t, problems.Err())
	return c
}

// render renders the config of a node and reads it as Ignition does.
func render(t *testing.T, c *cluster.Cluster, name string, s Secrets) types.Config {
	t.Helper()
	n, ok := c.Node(name)
	require.True(t, ok, name)
	out, err := Render(c, n, s)
	require.NoError(t, err)
	again, err := Render(c, n, s)
	require.NoError(t, err)
	assert.Equal(t, string(out), string(again), "the same input gives the same bytes")

	config, report, err := v3_4.Parse(out)
	require.NoError(t, err, report.String())
	require.Empty(t, report.Entries)
	require.Equal(t, "3.4.0", config.Ignition.Version)
	return config
}

// contents decodes what Ignition will write to a file.
func contents(t *testing.T, f types.File) string {
	t.Helper()
	source, found := strings.CutPrefix(*f.Contents.Source, "data:")
	require.True(t, found)
	kind, data, found := strings.Cut(source, ",")
	require.True(t, found)
	text, err := url.PathUnescape(data)
	require.NoError(t, err)
	if strings.HasSuffix(kind, ";base64") {
		decoded, err := base64.StdEncoding.DecodeString(text)
		require.NoError(t, err)
		text = string(decoded)
	}
	if f.Contents.Compression != nil && *f.Contents.Compression == "gzip" {
		r, err := gzip.NewReader(strings.NewReader(text))
		require.NoError(t, err)
		plain, err := io.ReadAll(r)
		require.NoError(t, err)
		text = string(plain)
	}
	return text
}

// written maps the path of each file to its content.
func written(t *testing.T, config types.Config) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, f := range config.Storage.Files {
		files[f.Path] = contents(t, f)
	}
	return files
}

// describe prints a config for people, with placeholders for what is made anew
// in every run.
func describe(t *testing.T, config types.Config, c *cluster.Cluster, s Secrets) string {
	t.Helper()
	hash, err := s.CAHash()
	require.NoError(t, err)
	hide := []string{hash, "<CA hash>"}
	for name, text := range everySecret(t, c, s) {
		hide = append(hide, text, "<"+name+">\n")
	}
	var b bytes.Buffer
	for _, d := range config.Storage.Directories {
		fmt.Fprintf(&b, "directory %s %#o\n", d.Path, *d.Mode)
	}
	for _, f := range config.Storage.Files {
		fmt.Fprintf(&b, "file %s %#o overwrite=%t\n", f.Path, *f.Mode, *f.Overwrite)
		for line := range strings.Lines(strings.NewReplacer(hide...).Replace(contents(t, f))) {
			b.WriteString("    " + line)
		}
	}
	for _, u := range config.Systemd.Units {
		fmt.Fprintf(&b, "unit %s enabled=%t\n", u.Name, *u.Enabled)
	}
	return b.String()
}

func TestRenderGolden(t *testing.T) {
	s := testSecrets(t)
	for _, test := range []struct{ cluster, node string }{
		{"single", "master-1"}, {"everything", "master-1"}, {"everything", "worker-1"}, {"everything", "lb-1"},
		{"external-etcd", "master-2"}, {"external-etcd", "etcd-1"}, {"co-located", "master-1"},
	} {
		t.Run(test.cluster+"-"+test.node, func(t *testing.T) {
			c := load(t, test.cluster)
			got := describe(t, render(t, c, test.node, s), c, s)
			file := "testdata/" + test.cluster + "-" + test.node + ".golden"
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err, "make it with: go test ./ignition -update")
			assert.Equal(t, string(want), got, "accept a change with: go test ./ignition -update")
			assert.NotContains(t, got, "-----BEGIN")
		})
	}
}

// Exactly one node starts the cluster, and every node knows its own address.
func TestNodeJSONOfEveryNode(t *testing.T) {
	c, s := load(t, "everything"), testSecrets(t)
	var first []string
	for _, want := range c.Nodes {
		files := written(t, render(t, c, want.Name, s))
		n, err := node.Decode([]byte(files[node.Path]))
		require.NoError(t, err)
		assert.Equal(t, want.Name, n.Name)
		assert.Equal(t, want.Address, n.Address)
		assert.Equal(t, node.Endpoint{Host: "10.77.0.10", Port: 6443}, n.Endpoint)
		assert.Equal(t, "2026-01-02T15:04:05Z", n.NotBefore)
		assert.Equal(t, want.Name+"\n", files["/etc/hostname"])
		assert.Contains(t, files[networkPath], "\nAddress="+want.Address+"/24\n")
		for _, other := range c.Nodes {
			assert.Contains(t, files["/etc/hosts"], "\n"+other.Address+" "+other.Name+"\n")
		}
		if n.InitMaster {
			first = append(first, n.Name)
		}
	}
	assert.Equal(t, []string{"master-1"}, first)
}

// Without NTP servers and SSH keys there is no trace of either.
func TestNothingIsRenderedThatWasNotAskedFor(t *testing.T) {
	config := render(t, load(t, "single"), "master-1", testSecrets(t))
	files := written(t, config)
	assert.NotContains(t, files, chronyPath)
	assert.NotContains(t, files, authorizedKeysPath)
	assert.Empty(t, config.Systemd.Units)
	assert.NotContains(t, files[networkPath], "Gateway")
	assert.NotContains(t, files[networkPath], "DNS=")
}

func TestRenderRefusesWhatTheAgentWould(t *testing.T) {
	c, s := load(t, "single"), testSecrets(t)
	n := c.Nodes[0]
	n.Address = "10.77.0.11/24"
	_, err := Render(c, n, s)
	assert.ErrorContains(t, err, "render the config of master-1: node.json: address: expected an IPv4 address")
	_, err = Render(c, c.Nodes[0], Secrets{})
	assert.ErrorContains(t, err, "render the config of master-1: kubernetes-ca: the certificate is missing")
}

func TestButaneRemarksAreErrors(t *testing.T) {
	_, err := butane{Storage: butaneStorage{Files: []butaneFile{public("relative", "")}}}.compile()
	assert.ErrorContains(t, err, "butane: error at $.storage.files.0.path")
}
