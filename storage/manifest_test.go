package storage_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster"
	"imgbuild/storage"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// TestManifestOfEveryExample compares with golden files, which the test of this
// name in test/ gives to a real API server with Rook's own CRDs.
func TestManifestOfEveryExample(t *testing.T) {
	files, err := filepath.Glob("testdata/*.cluster.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, problems := cluster.Load(file)
			require.NoError(t, problems.Err())
			got, err := storage.Manifest(c)
			require.NoError(t, err)
			again, err := storage.Manifest(c)
			require.NoError(t, err)
			assert.Equal(t, string(got), string(again))
			golden := strings.TrimSuffix(file, ".cluster.yaml") + ".ceph.yaml"
			if *update {
				require.NoError(t, os.WriteFile(golden, got, 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err, "make it with: go test ./storage -update")
			assert.Equal(t, string(want), string(got), "accept a change with: go test ./storage -update")
		})
	}
}

func TestClusterWithoutStorage(t *testing.T) {
	_, err := storage.Manifest(&cluster.Cluster{Name: "demo"})
	assert.EqualError(t, err, "make a CephCluster: cluster demo has no node of role rook")
}
