package main

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWithoutImages(t *testing.T) {
	got, err := withoutImages([]byte("packages: {apt: [runc]}\nimages:\n  # a comment\n  - a/b:c\nenable: [x.service]\n"))
	require.NoError(t, err)
	assert.YAMLEq(t, "packages: {apt: [runc]}\nenable: [x.service]\n", string(got))
}

// What is imported is the same image, its layers compressed.
func TestPackLayers(t *testing.T) {
	plain, packed := t.TempDir(), t.TempDir()
	text := strings.Repeat("compresses well ", 4096)
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: "amd64", Config: v1.Config{Entrypoint: []string{"/pause"}, User: "65535"}, RootFS: v1.RootFS{Type: "layers"},
	})
	require.NoError(t, err)
	img, err = mutate.AppendLayers(img, static.NewLayer([]byte(text), types.OCIUncompressedLayer))
	require.NoError(t, err)
	p, err := layout.Write(plain, empty.Index)
	require.NoError(t, err)
	require.NoError(t, p.AppendImage(img, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"}),
		layout.WithAnnotations(map[string]string{"io.containerd.image.name": "registry.example/pause:1"})))

	require.NoError(t, packLayers(plain, packed))
	index, err := layout.ImageIndexFromPath(packed)
	require.NoError(t, err)
	m, err := index.IndexManifest()
	require.NoError(t, err)
	require.Len(t, m.Manifests, 1)
	assert.Equal(t, "registry.example/pause:1", m.Manifests[0].Annotations["io.containerd.image.name"])
	got, err := index.Image(m.Manifests[0].Digest)
	require.NoError(t, err)
	config, err := got.ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, []string{"/pause"}, config.Config.Entrypoint)
	layers, err := got.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 1)
	size, err := layers[0].Size()
	require.NoError(t, err)
	assert.Less(t, size, int64(len(text)/4))
	id, err := layers[0].DiffID()
	require.NoError(t, err)
	assert.Equal(t, config.RootFS.DiffIDs, []v1.Hash{id})
	r, err := layers[0].Uncompressed()
	require.NoError(t, err)
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, text, string(data))
}

func TestArchive(t *testing.T) {
	dir, to := t.TempDir(), filepath.Join(t.TempDir(), archiveName("registry.k8s.io/coredns/coredns:v1.14.2"))
	assert.Equal(t, "coredns_v1.14.2.tar", filepath.Base(to))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755))
	for _, name := range []string{"index.json", "oci-layout", "blobs/sha256/aa"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644))
	}
	require.NoError(t, archive(dir, to))
	f, err := os.Open(to)
	require.NoError(t, err)
	defer f.Close()
	files := map[string]string{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		if h.Typeflag == tar.TypeReg {
			data, err := io.ReadAll(r)
			require.NoError(t, err)
			files[h.Name] = string(data)
		}
	}
	assert.Equal(t, map[string]string{"index.json": "index.json", "oci-layout": "oci-layout", "blobs/sha256/aa": "blobs/sha256/aa"}, files)
}
