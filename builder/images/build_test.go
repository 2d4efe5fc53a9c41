package images

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/cache"
)

const epoch = 1_700_006_400

// staticELF is a program without libraries: an ELF header and nothing else.
var staticELF = append([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00\x01\x00\x00\x00"), make([]byte, 40)...)

func put(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	file := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, data, 0o755))
}

// smallTree has what images take from a base: the certificates, and programs
// behind the links that Debian has.
func smallTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	elf := slices.Clone(staticELF)
	elf[52] = 64 // its own size, e_ehsize
	put(t, dir, "etc/ssl/certs/ca-certificates.crt", []byte("certificates\n"))
	require.NoError(t, os.Chmod(filepath.Join(dir, "etc/ssl/certs/ca-certificates.crt"), 0o644))
	for _, p := range []string{"usr/bin/cp", "usr/sbin/nft", "usr/sbin/xtables-nft-multi"} {
		put(t, dir, p, elf)
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "etc/alternatives"), 0o755))
	for _, p := range []string{"iptables", "ip6tables"} {
		require.NoError(t, os.Symlink("/etc/alternatives/"+p, filepath.Join(dir, "usr/sbin", p)))
		require.NoError(t, os.Symlink("/usr/sbin/xtables-nft-multi", filepath.Join(dir, "etc/alternatives", p)))
	}
	return dir
}

// small composes from that tree and components of one file each.
func small(t *testing.T) Builder {
	t.Helper()
	made := t.TempDir()
	for _, s := range All() {
		for _, f := range s.Files {
			put(t, made, f.From, []byte("program "+f.From))
		}
	}
	return Builder{
		Cache: cache.Cache{Root: t.TempDir()}, Tree: []string{smallTree(t)}, Epoch: epoch,
		Components: func(_ context.Context, name string) (string, error) { return filepath.Join(made, name), nil },
	}
}

// resolved pins an image with made-up inputs.
func resolved(t *testing.T, ref string) Image {
	t.Helper()
	of, err := Components(ref)
	require.NoError(t, err)
	inputs := map[string]string{}
	for _, c := range of {
		inputs[c] = "inputs of " + c
	}
	img, err := Resolve(ref, inputs, "base")
	require.NoError(t, err)
	return img
}

// sums maps the files below dir to their digests.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		sum := sha256.Sum256(data)
		found[strings.TrimPrefix(p, dir)] = hex.EncodeToString(sum[:])
		return err
	}))
	return found
}

// TestCompose makes every image twice, in two places, and holds it to the image
// specification.
func TestCompose(t *testing.T) {
	for _, s := range All() {
		t.Run(s.Ref, func(t *testing.T) {
			img := resolved(t, s.Ref)
			dir, other := t.TempDir(), t.TempDir()
			digest, err := small(t).Build(t.Context(), img, dir)
			require.NoError(t, err)
			otherDigest, err := small(t).Build(t.Context(), img, other)
			require.NoError(t, err)
			assert.Equal(t, digest, otherDigest)
			assert.Equal(t, sums(t, dir), sums(t, other), "the same inputs give the same layout, byte by byte")

			hash, err := v1.NewHash(digest)
			require.NoError(t, err)
			p, err := layout.FromPath(dir)
			require.NoError(t, err)
			read, err := p.Image(hash)
			require.NoError(t, err)
			for file, sum := range sums(t, filepath.Join(dir, "blobs/sha256")) {
				assert.Equal(t, "/"+sum, file, "a blob has its digest for a name")
			}
			m, err := manifestOf(dir)
			require.NoError(t, err)
			assert.Equal(t, s.Ref, m.Annotations["io.containerd.image.name"])
			config, err := read.ConfigFile()
			require.NoError(t, err)
			assert.Equal(t, s.Entrypoint, config.Config.Entrypoint)
			assert.Equal(t, s.User, config.Config.User)
			assert.EqualValues(t, epoch, config.Created.Unix())
			id, err := configDigest(dir, digest)
			require.NoError(t, err)
			want, err := read.ConfigName()
			require.NoError(t, err)
			assert.Equal(t, want.String(), id)

			files := unpacked(t, read)
			for _, f := range s.Files {
				assert.Equal(t, "-rwxr-xr-x program "+f.From, files[f.To])
			}
			if s.Bare {
				assert.Len(t, files, 1, "nothing but its program")
			} else {
				assert.Equal(t, "-rw-r--r-- certificates\n", files["/etc/ssl/certs/ca-certificates.crt"])
				assert.Equal(t, "dtrwxrwxrwx ", files["/tmp"])
			}
		})
	}
}

// unpacked maps the paths of an image's layer to mode and content.
func unpacked(t *testing.T, img v1.Image) map[string]string {
	t.Helper()
	layers, err := img.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 1)
	r, err := layers[0].Uncompressed()
	require.NoError(t, err)
	defer r.Close()
	files := map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		assert.True(t, h.ModTime.Equal(time.Unix(epoch, 0)), h.Name)
		assert.Zero(t, h.Uid+h.Gid, h.Name)
		assert.Empty(t, h.Uname+h.Gname, h.Name)
		data, err := io.ReadAll(tr)
		require.NoError(t, err)
		files["/"+strings.Trim(h.Name, "/")] = fmt.Sprintf("%s %s%s", h.FileInfo().Mode(), h.Linkname, data)
	}
}

// TestComposeTakesLinksAlong: iptables is a link to a link to a program.
func TestComposeTakesLinksAlong(t *testing.T) {
	dir := t.TempDir()
	digest, err := small(t).Build(t.Context(), resolved(t, "ghcr.io/flannel-io/flannel:v0.28.4"), dir)
	require.NoError(t, err)
	hash, err := v1.NewHash(digest)
	require.NoError(t, err)
	p, err := layout.FromPath(dir)
	require.NoError(t, err)
	img, err := p.Image(hash)
	require.NoError(t, err)
	files := unpacked(t, img)
	assert.Equal(t, "Lrwxrwxrwx /etc/alternatives/iptables", files["/usr/sbin/iptables"])
	assert.Equal(t, "Lrwxrwxrwx /usr/sbin/xtables-nft-multi", files["/etc/alternatives/iptables"])
	assert.Contains(t, slices.Collect(maps.Keys(files)), "/usr/sbin/xtables-nft-multi")
}

func TestComposeFails(t *testing.T) {
	etcd := resolved(t, "registry.k8s.io/etcd:3.6.8-0")
	for name, c := range map[string]struct {
		change func(*Builder)
		want   string
	}{
		"no certificates": {func(b *Builder) { b.Tree = []string{t.TempDir()} }, "add the package ca-certificates to the base"},
		"no component": {func(b *Builder) {
			b.Components = func(context.Context, string) (string, error) { return "", errors.New("does not compile") }
		}, "compose image registry.k8s.io/etcd:3.6.8-0: component etcd: does not compile"},
		"no program": {func(b *Builder) {
			b.Components = func(context.Context, string) (string, error) { return t.TempDir(), nil }
		}, "component etcd: stat "},
	} {
		t.Run(name, func(t *testing.T) {
			b := small(t)
			c.change(&b)
			_, err := b.Bake(t.Context(), []Image{etcd}, "inputs of containerd")
			assert.ErrorContains(t, err, c.want)
			assert.Empty(t, names(t, b.Cache.Path("baked", "")))
			assert.Empty(t, names(t, b.Cache.Path("scratch", "")))
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		b := small(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := b.Bake(ctx, []Image{etcd}, "inputs of containerd")
		assert.ErrorIs(t, err, context.Canceled)
		assert.Empty(t, names(t, b.Cache.Path("scratch", "")))
	})
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	return found
}
