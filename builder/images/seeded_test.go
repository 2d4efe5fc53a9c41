package images

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSeededStorage looks at the tree; that the registry takes it is seen in
// machines, see TestRegistry.
func TestSeededStorage(t *testing.T) {
	_, ref, want := published(t)
	img, err := Pin(t.Context(), ref, "amd64")
	require.NoError(t, err)
	b := small(t)
	list := []Seeded{{Image: img, As: "docker.io/goharbor/core:v1"}, {Image: img, As: "docker.io/goharbor/again"}}
	made, err := b.Seed(t.Context(), list)
	require.NoError(t, err)
	digest, err := want.Digest()
	require.NoError(t, err)
	assert.Equal(t, map[string]string{ref: digest.String()}, made.Digests)

	root := filepath.Join(made.Dir, "docker/registry/v2")
	blobs := 0
	require.NoError(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		data := []byte{}
		if !d.IsDir() {
			data, err = os.ReadFile(p)
			require.NoError(t, err)
		}
		switch d.Name() {
		case "data":
			blobs++
			sum := sha256.Sum256(data)
			assert.Equal(t, hex.EncodeToString(sum[:]), filepath.Base(filepath.Dir(p)))
		case "link":
			hash, found := strings.CutPrefix(string(data), "sha256:")
			assert.True(t, found, p)
			assert.FileExists(t, filepath.Join(root, "blobs/sha256", hash[:2], hash, "data"))
		}
		return nil
	}))
	assert.Equal(t, 4, blobs, "two layers, a configuration, a manifest")
	for _, name := range []string{
		"core/_manifests/tags/v1/current", "core/_manifests/tags/v1/index/sha256/" + digest.Hex,
		"core/_manifests/revisions/sha256/" + digest.Hex, "again/_manifests/revisions/sha256/" + digest.Hex,
	} {
		text, err := os.ReadFile(filepath.Join(root, "repositories/docker.io/goharbor", name, "link"))
		require.NoError(t, err)
		assert.Equal(t, digest.String(), string(text))
	}
	assert.NoDirExists(t, filepath.Join(root, "repositories/docker.io/goharbor/again/_manifests/tags"))
}
