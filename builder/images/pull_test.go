package images

import (
	"io"
	"log"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// published serves an image for two architectures under a name with a tag.
func published(t *testing.T) (server *httptest.Server, ref string, amd64 v1.Image) {
	t.Helper()
	server = httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	ref = strings.TrimPrefix(server.URL, "http://") + "/goharbor/harbor-core:v2.14.0"
	index := empty.Index
	var all v1.ImageIndex = index
	for _, arch := range []string{"arm64", "amd64"} {
		image, err := random.Image(2048, 2)
		require.NoError(t, err)
		all = mutate.AppendManifests(all, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
		amd64 = image
	}
	parsed, err := name.ParseReference(ref)
	require.NoError(t, err)
	require.NoError(t, remote.WriteIndex(parsed, all))
	return server, ref, amd64
}

func TestAPulledImageIsPinnedAndKept(t *testing.T) {
	server, ref, want := published(t)
	assert.False(t, Composed(ref))
	assert.True(t, Composed("registry.k8s.io/pause:3.10.2"))
	img, err := Pin(t.Context(), ref, "amd64")
	require.NoError(t, err)
	digest, err := want.Digest()
	require.NoError(t, err)
	assert.Equal(t, Image{Ref: ref, Inputs: digest.Hex, Digest: digest.String()}, img)

	b := small(t)
	pull := func(name string) (string, error) {
		dir := filepath.Join(b.Cache.Root, name)
		got, err := b.Build(t.Context(), img, dir)
		if err == nil {
			assert.Equal(t, digest.String(), got)
		}
		return dir, err
	}
	b.Offline = true
	_, err = pull("offline")
	assert.ErrorContains(t, err, "pull image "+ref+": not in the cache: run the command without --offline")

	b.Offline = false
	first, err := pull("first")
	require.NoError(t, err)
	m, err := manifestOf(first)
	require.NoError(t, err)
	assert.Equal(t, ref, m.Annotations["io.containerd.image.name"])
	image, err := layout.Path(first).Image(m.Digest)
	require.NoError(t, err)
	layers, err := image.Layers()
	require.NoError(t, err)
	assert.Len(t, layers, 2)

	// Once it is in the cache nobody is asked any more.
	server.Close()
	b.Offline = true
	second, err := pull("second")
	require.NoError(t, err)
	assert.Equal(t, sums(t, first), sums(t, second))
}

func TestAnImageThatCannotBeHad(t *testing.T) {
	_, err := Pin(t.Context(), "127.0.0.1:1/goharbor/harbor-core:v2.14.0", "amd64")
	assert.ErrorContains(t, err, "image 127.0.0.1:1/goharbor/harbor-core:v2.14.0: its registry cannot be had from here: ")
	_, ref, _ := published(t)
	_, err = Pin(t.Context(), ref, "riscv64")
	assert.ErrorContains(t, err, "image "+ref+": not for linux/riscv64: ")
	_, err = Pin(t.Context(), strings.Replace(ref, "v2.14.0", "v9", 1), "amd64")
	assert.ErrorContains(t, err, "MANIFEST_UNKNOWN")
}
