package cluster_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster"
)

// report is what a golden file has: one line per problem, with its severity.
func report(problems cluster.Problems) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s: %s\n", p.Severity, p)
	}
	return b.String()
}

// parseCase parses a file under its base name, as a user in its folder would.
func parseCase(t *testing.T, file string) (*cluster.Cluster, cluster.Problems) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return cluster.Parse(filepath.Base(file), data)
}

func TestBrokenFilesAreRefusedWithLineAndReason(t *testing.T) {
	files := cases(t, "broken")
	assert.GreaterOrEqual(t, len(files), 30)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, problems := parseCase(t, file)
			assert.Nil(t, c, "a broken file must not give a cluster")
			assert.Error(t, problems.Err())
			for _, p := range problems {
				assert.Positive(t, p.Line, "no line in: %s", p)
				assert.NotEmpty(t, p.Message)
				assert.NotEmpty(t, p.File)
			}
			golden(t, strings.TrimSuffix(file, "yaml")+"golden", report(problems))
		})
	}
}

func TestUnwiseFilesAreAcceptedWithWarnings(t *testing.T) {
	for _, file := range cases(t, "warnings") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, problems := parseCase(t, file)
			assert.NoError(t, problems.Err())
			assert.NotNil(t, c)
			assert.NotEmpty(t, problems.Warnings())
			golden(t, strings.TrimSuffix(file, "yaml")+"golden", report(problems))
		})
	}
}

func TestValuesThatMayBeSecretsAreNotRepeated(t *testing.T) {
	for _, name := range []string{"mirrors", "ssh-keys", "registry-private-key"} {
		_, problems := parseCase(t, filepath.Join("testdata", "broken", name+".yaml"))
		assert.NotContains(t, report(problems), "swordfish")
		assert.NotContains(t, report(problems), "BEGIN")
	}
}

func TestMissingFileSaysHowToMakeOne(t *testing.T) {
	_, problems := cluster.Load(filepath.Join(t.TempDir(), "cluster.yaml"))
	assert.ErrorContains(t, problems.Err(), "imgbuild init > cluster.yaml")
}

func TestFolderInsteadOfFile(t *testing.T) {
	_, problems := cluster.Load(t.TempDir())
	assert.ErrorContains(t, problems.Err(), "is a directory")
}

func TestTooLargeFileIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	text, err := cluster.Template(cluster.Single)
	require.NoError(t, err)
	text = append(text, bytes.Repeat([]byte("#\n"), cluster.MaxFileSize/2)...)
	require.NoError(t, os.WriteFile(file, text, 0o600))

	_, problems := cluster.Load(file)
	assert.ErrorContains(t, problems.Err(), "larger than 1MiB")
}

func TestHugeNumberOfNodesIsOneProblem(t *testing.T) {
	text := "nodes:\n" + strings.Repeat("- {}\n", 6000)
	_, problems := cluster.Parse("c.yaml", []byte(text))
	assert.Contains(t, report(problems), "c.yaml:1: nodes: expected at most 5000 nodes, got 6000")
	assert.Less(t, len(problems), 10)
}

func TestDefaultsOfTheSmallestFile(t *testing.T) {
	c, problems := cluster.Parse("c.yaml", []byte(`
apiVersion: imgbuild/v1
name: demo
topology: single
network: {subnet: 10.77.0.0/24}
nodes: [{name: m, role: master, mac: 52-54-00-77-00-AB, address: 10.77.0.11}]
`))
	require.NoError(t, problems.Err())
	assert.Equal(t, cluster.SizeProduction, c.Size)
	assert.Equal(t, "debian-13", c.Base)
	assert.Equal(t, "v1.36.3", c.Kubernetes.Version)
	assert.Equal(t, "flannel", c.Kubernetes.CNI)
	assert.False(t, *c.Kubernetes.MasterTaint, "the only machine must run pods")
	assert.Equal(t, cluster.LBNone, c.LoadBalancer.Mode)
	assert.Equal(t, "10m", c.Timeouts.API.String())
	assert.Equal(t, 4*cluster.GiB, c.Lab.Memory)
	assert.Equal(t, "52:54:00:77:00:ab", c.Nodes[0].MAC, "one spelling of MACs for everybody")
	host, port := c.Endpoint()
	assert.Equal(t, "10.77.0.11:6443", fmt.Sprintf("%s:%d", host, port))
}

func TestTemplatesAreValidWithoutWarnings(t *testing.T) {
	endpoints := map[cluster.Topology]string{
		cluster.Single: "10.77.0.11:6443", cluster.Stacked: "10.77.0.10:6443", cluster.ExternalEtcd: "10.77.0.10:6443",
	}
	for _, topology := range cluster.Topologies() {
		t.Run(string(topology), func(t *testing.T) {
			text, err := cluster.Template(topology)
			require.NoError(t, err)
			c, problems := cluster.Parse("cluster.yaml", text)
			require.Empty(t, problems)
			assert.Equal(t, topology, c.Topology)
			assert.Equal(t, "master-1", c.InitMaster().Name)
			assert.Equal(t, topology != cluster.Single, *c.Kubernetes.MasterTaint)
			host, port := c.Endpoint()
			assert.Equal(t, endpoints[topology], fmt.Sprintf("%s:%d", host, port))
		})
	}
	_, err := cluster.Template("stakced")
	assert.ErrorContains(t, err, "did you mean stacked?")
	_, err = cluster.Template("../single")
	assert.ErrorContains(t, err, "expected one of single, stacked, external-etcd")
}

// FuzzParse looks for panics and for accepted clusters that lack what other
// packages rely on.
func FuzzParse(f *testing.F) {
	for _, folder := range []string{"broken", "warnings"} {
		files, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
		require.NoError(f, err)
		for _, file := range files {
			data, err := os.ReadFile(file)
			require.NoError(f, err)
			f.Add(data)
		}
	}
	for _, topology := range cluster.Topologies() {
		text, err := cluster.Template(topology)
		require.NoError(f, err)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, problems := cluster.Parse("c.yaml", data)
		if c == nil {
			assert.Error(t, problems.Err(), "refused without a reason")
			return
		}
		assert.NoError(t, problems.Err())
		assert.Equal(t, cluster.RoleMaster, c.InitMaster().Role)
		host, port := c.Endpoint()
		assert.NotEmpty(t, host)
		assert.Positive(t, port)
	})
}
