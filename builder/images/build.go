package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"imgbuild/builder/cache"
)

// searchPath is PATH in every composed image.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Builder composes and bakes images. Its fields are set once.
type Builder struct {
	Cache cache.Cache
	// Components returns the folder of a built component by name. It is only
	// called where an image is composed.
	Components func(ctx context.Context, name string) (dir string, err error)
	// Tree is the base tree, lowest layer first: programs and their libraries
	// are taken from it, and containerd runs in it while baking.
	Tree []string
	// Epoch is the one time in images and stores, seconds since 1970.
	Epoch int64
	// Arch is Go's name of the images' architecture; empty means amd64.
	Arch string
	// Offline forbids the network.
	Offline bool
	// Log gets one line per image made, and what the programs say.
	Log io.Writer
}

// Build composes or pulls the image as an OCI layout in dir, which must be empty,
// and returns the digest of its manifest ("sha256:…"). What is composed is not
// kept in the cache: that takes less time than writing a copy to the disk would.
func (b Builder) Build(ctx context.Context, img Image, dir string) (digest string, err error) {
	if err := b.make(ctx, img, dir); err != nil {
		return "", err
	}
	m, err := manifestOf(dir)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", img.Ref, err)
	}
	return m.Digest.String(), nil
}

func (b Builder) make(ctx context.Context, img Image, dir string) error {
	if img.Digest != "" {
		return b.pull(ctx, img, dir)
	}
	s, err := find(img.Ref)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.log(), "compose image %s\n", s.Ref)
	if err := b.compose(ctx, s, dir); err != nil {
		return fmt.Errorf("compose image %s: %w", s.Ref, err)
	}
	return nil
}

func (b Builder) arch() string {
	if b.Arch == "" {
		return "amd64"
	}
	return b.Arch
}

func (b Builder) log() io.Writer {
	if b.Log == nil {
		return io.Discard
	}
	return b.Log
}

// compose writes the image as an OCI layout into dir.
func (b Builder) compose(ctx context.Context, s Spec, dir string) error {
	files, err := b.files(ctx, s)
	if err != nil {
		return err
	}
	epoch := time.Unix(b.Epoch, 0).UTC()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	l, err := writeLayer(dir, func(w io.Writer) error { return files.write(contextWriter{ctx, w}, epoch) })
	if err != nil {
		return err
	}
	img, err := mutate.ConfigFile(
		mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON),
		b.config(s, epoch))
	if err != nil {
		return err
	}
	img, err = mutate.Append(img, mutate.Addendum{
		Layer: l, MediaType: types.OCIUncompressedLayer,
		History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "imgbuild"},
	})
	if err != nil {
		return err
	}
	return p.AppendImage(img, b.named(s.Ref)...)
}

// named is what a layout says of its image.
func (b Builder) named(ref string) []layout.Option {
	_, tag, _ := strings.Cut(path.Base(ref), ":")
	return []layout.Option{
		layout.WithPlatform(v1.Platform{OS: "linux", Architecture: b.arch()}),
		layout.WithAnnotations(map[string]string{
			// containerd takes the first as the image's whole name.
			"io.containerd.image.name":          ref,
			"org.opencontainers.image.ref.name": tag,
		}),
	}
}

func (b Builder) config(s Spec, epoch time.Time) *v1.ConfigFile {
	return &v1.ConfigFile{
		Architecture: b.arch(), OS: "linux", Created: v1.Time{Time: epoch},
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Entrypoint: s.Entrypoint, User: s.User, WorkingDir: s.WorkDir, Env: []string{searchPath}},
	}
}

// files collects everything that is in the image.
func (b Builder) files(ctx context.Context, s Spec) (content, error) {
	c := content{}
	if !s.Bare {
		if err := c.addBasics(b.Tree); err != nil {
			return nil, err
		}
	}
	for _, p := range s.Programs {
		if err := c.addProgram(b.Tree, p); err != nil {
			return nil, err
		}
	}
	for _, f := range s.Files {
		name := f.component()
		dir, err := b.Components(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("component %s: %w", name, err)
		}
		host := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(f.From, name+"/")))
		if _, err := os.Stat(host); err != nil {
			return nil, fmt.Errorf("component %s: %w", name, err)
		}
		c.add(entry{path: f.To, host: host, mode: 0o755})
	}
	return c, nil
}

// writeLayer streams a layer straight to its place among the layout's blobs,
// so that no layer is ever held in memory or written twice.
func writeLayer(dir string, write func(io.Writer) error) (blobLayer, error) {
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return blobLayer{}, err
	}
	f, err := os.CreateTemp(blobs, ".layer-")
	if err != nil {
		return blobLayer{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	sum := sha256.New()
	if err := write(io.MultiWriter(f, sum)); err != nil {
		return blobLayer{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return blobLayer{}, err
	}
	l := blobLayer{
		hash: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))},
		size: info.Size(),
	}
	l.file = filepath.Join(blobs, l.hash.Hex)
	// The content store's mode for blobs: bake links this very file into it.
	if err := f.Chmod(0o444); err != nil {
		return blobLayer{}, err
	}
	if err := f.Close(); err != nil {
		return blobLayer{}, err
	}
	return l, os.Rename(f.Name(), l.file)
}

// blobLayer is an uncompressed layer that is a file already.
type blobLayer struct {
	hash v1.Hash
	size int64
	file string
}

func (l blobLayer) Digest() (v1.Hash, error)             { return l.hash, nil }
func (l blobLayer) DiffID() (v1.Hash, error)             { return l.hash, nil }
func (l blobLayer) Size() (int64, error)                 { return l.size, nil }
func (l blobLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
func (l blobLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.file) }
func (l blobLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.file) }

// contextWriter stops a long copy when the build is cancelled.
type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c contextWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

// manifestOf returns the descriptor of the one image of a layout.
func manifestOf(dir string) (v1.Descriptor, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return v1.Descriptor{}, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if len(m.Manifests) != 1 {
		return v1.Descriptor{}, fmt.Errorf("layout holds %d images, want one", len(m.Manifests))
	}
	return m.Manifests[0], nil
}
