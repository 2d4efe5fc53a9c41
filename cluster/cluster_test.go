package cluster

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write golden files")

func TestTemplatesAreValid(t *testing.T) {
	for _, topology := range []Topology{Single, Stacked, ExternalEtcd} {
		data, err := Template(topology)
		require.NoError(t, err)
		c, problems := Parse("cluster.yaml", data)
		require.Empty(t, problems, topology)
		assert.Equal(t, topology, c.Topology)
	}
	_, err := Template("../single")
	assert.ErrorContains(t, err, "expected one of single, stacked, external-etcd")
}

// TestBroken makes one change to a valid file at a time. What is said of each
// is in testdata/broken.golden: every one has a line and a reason.
func TestBroken(t *testing.T) {
	var got strings.Builder
	for _, c := range []struct{ name, old, new string }{
		{"unknown key", "name:", "nmae:"},
		{"wrong api version", "imgbuild/v1", "imgbuild/v9"},
		{"unknown topology", "topology: single", "topology: ring"},
		{"topology without its nodes", "topology: single", "topology: stacked"},
		{"unknown role", "role: master", "role: king"},
		{"no master", "role: master", "role: worker"},
		{"bad mac", "52:54:00:77:00:11", "52:54:00:77:00"},
		{"multicast mac", "52:54:00:77:00:11", "01:54:00:77:00:11"},
		{"address outside", "10.77.0.11", "10.78.0.11"},
		{"address is no address", "10.77.0.11", "10.77.0.311"},
		{"network address", "10.77.0.11", "10.77.0.0"},
		{"subnet is no subnet", "10.77.0.0/24", "10.77.0.0"},
		{"duplicate key", "topology: single", "topology: single\ntopology: single"},
		{"tab", "topology: single", "\ttopology: single"},
		{"not a map", "topology: single", "topology: [single]"},
	} {
		data, err := Template(Single)
		require.NoError(t, err)
		text := strings.ReplaceAll(string(data), c.old, c.new)
		require.NotEqual(t, string(data), text, "%s changes nothing", c.name)
		_, problems := Parse("cluster.yaml", []byte(text))
		require.NotEmpty(t, problems.Errors(), c.name)
		got.WriteString("# " + c.name + "\n")
		for _, p := range problems.Errors() {
			assert.Positive(t, p.Line, "%s: %s", c.name, p)
			assert.NotEmpty(t, p.Message, c.name)
			got.WriteString(p.String() + "\n")
		}
	}
	golden := filepath.Join("testdata", "broken.golden")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), got.String())
}

// FuzzParse: no input makes the loader panic.
func FuzzParse(f *testing.F) {
	for _, topology := range []Topology{Single, Stacked, ExternalEtcd} {
		data, err := Template(topology)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) { Parse("cluster.yaml", data) })
}
