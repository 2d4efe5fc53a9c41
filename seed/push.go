package seed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Image is one to copy.
type Image struct {
	// Ref is what nodes call it.
	Ref string
	// Layout is the folder of an OCI layout that holds nothing but the image.
	// Empty: it is pulled from where Ref says.
	Layout string
}

// Pushed is an image that is in the registry now.
type Pushed struct {
	Ref string `json:"ref"`
	// As is what the registry calls it.
	As string `json:"as"`
	// Digest of its manifest, or of its index where it is one for several
	// platforms: sha256:<hex>.
	Digest string `json:"digest"`
}

// taggable is an image or an index.
type taggable interface {
	remote.Taggable
	Digest() (v1.Hash, error)
}

// Push copies an image. Its blobs come first, then its manifest under its digest,
// then its tag: whoever finds the tag finds all of it. progress, where it is set,
// is told the bytes of all that is sent so far, and those of all that has to be.
func (r Registry) Push(ctx context.Context, img Image, progress func(sent, of int64)) (Pushed, error) {
	target, err := r.Target(img.Ref)
	if err != nil {
		return Pushed{}, err
	}
	content, err := img.open(ctx)
	if err != nil {
		return Pushed{}, err
	}
	digest, err := content.Digest()
	if err != nil {
		return Pushed{}, fmt.Errorf("image %s: %w", img.Ref, err)
	}
	t, err := r.transport()
	if err != nil {
		return Pushed{}, err
	}
	err = r.patiently(ctx, func(ctx context.Context) error {
		if err := r.check(ctx, t); err != nil {
			return err
		}
		if r.Harbor {
			if err := r.makeProject(ctx, t, target.Context().RepositoryStr()); err != nil {
				return err
			}
		}
		return r.push(ctx, t, target, digest, content, progress)
	})
	if err != nil {
		return Pushed{}, fmt.Errorf("push %s: %w", img.Ref, err)
	}
	return Pushed{Ref: img.Ref, As: target.Name(), Digest: digest.String()}, nil
}

func (r Registry) push(ctx context.Context, t http.RoundTripper, target name.Reference, digest v1.Hash, content taggable, progress func(sent, of int64)) error {
	options := r.options(ctx, t)
	as := target.Context().Digest(digest.String())
	if err := remote.Push(as, content, append(options, follow(progress)...)...); err != nil {
		return r.explain(err)
	}
	tag, tagged := target.(name.Tag)
	if !tagged {
		return nil
	}
	if err := remote.Tag(tag, content, options...); err != nil {
		return r.explain(err)
	}
	return nil
}

// follow passes on what the library says of its progress, until it closes the
// channel at its end.
func follow(progress func(sent, of int64)) []remote.Option {
	if progress == nil {
		return nil
	}
	updates := make(chan v1.Update, 16)
	go func() {
		for u := range updates {
			progress(u.Complete, u.Total)
		}
	}()
	return []remote.Option{remote.WithProgress(updates)}
}

// open finds what to copy. What comes from elsewhere is copied as it is, for all
// its platforms: a part of it would have another digest.
func (i Image) open(ctx context.Context) (taggable, error) {
	if i.Layout != "" {
		return openLayout(i.Layout)
	}
	ref, err := name.ParseReference(i.Ref)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", i.Ref, err)
	}
	found, err := remote.Get(ref, remote.WithContext(ctx), remote.WithUserAgent("imgbuild"))
	if err != nil {
		return nil, fmt.Errorf("image %s: %w: where this machine cannot reach its registry, give a folder with its OCI layout instead: %s=DIR", i.Ref, err, i.Ref)
	}
	if found.MediaType.IsIndex() {
		return found.ImageIndex()
	}
	return found.Image()
}

func openLayout(dir string) (taggable, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("OCI layout %s: %w", dir, err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("OCI layout %s: %w", dir, err)
	}
	if len(m.Manifests) != 1 {
		return nil, fmt.Errorf("OCI layout %s: holds %d images, expected one", dir, len(m.Manifests))
	}
	only := m.Manifests[0]
	if only.MediaType.IsIndex() {
		return index.ImageIndex(only.Digest)
	}
	return index.Image(only.Digest)
}

// Verify reads an image back from the registry, every byte of it, and compares
// all digests. A registry that is away is waited for here, too.
func (r Registry) Verify(ctx context.Context, p Pushed) error {
	t, err := r.transport()
	if err != nil {
		return err
	}
	ref, err := name.ParseReference(p.As)
	if err != nil {
		return fmt.Errorf("verify %s: %w", p.Ref, err)
	}
	err = r.patiently(ctx, func(ctx context.Context) error {
		found, err := remote.Get(ref, r.options(ctx, t)...)
		if err != nil {
			return r.explain(err)
		}
		if found.Digest.String() != p.Digest {
			return &permanent{fmt.Errorf("the registry has %s by this name, expected %s", found.Digest, p.Digest)}
		}
		err = readBack(found)
		if err == nil || isAway(err) {
			return err
		}
		return &permanent{fmt.Errorf("%w: push it again", err)}
	})
	if err != nil {
		return fmt.Errorf("verify %s: %w", p.Ref, err)
	}
	return nil
}

// isAway says whether a connection broke, and nothing else is wrong.
func isAway(err error) bool {
	return errors.As(err, new(net.Error)) || errors.Is(err, io.ErrUnexpectedEOF)
}

// readBack reads every blob that a manifest names, of all platforms. The library
// compares the digest of each with what it reads.
func readBack(found *remote.Descriptor) error {
	if !found.MediaType.IsIndex() {
		image, err := found.Image()
		if err != nil {
			return err
		}
		return readImage(image)
	}
	index, err := found.ImageIndex()
	if err != nil {
		return err
	}
	images, err := partial.FindImages(index, func(v1.Descriptor) bool { return true })
	if err != nil {
		return err
	}
	for _, image := range images {
		if err := readImage(image); err != nil {
			return err
		}
	}
	return nil
}

func readImage(image v1.Image) error {
	if _, err := image.RawConfigFile(); err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		if err := readLayer(layer); err != nil {
			return err
		}
	}
	return nil
}

func readLayer(layer v1.Layer) error {
	digest, err := layer.Digest()
	if err != nil {
		return err
	}
	content, err := layer.Compressed()
	if err != nil {
		return fmt.Errorf("layer %s: %w", digest, err)
	}
	defer content.Close()
	if _, err := io.Copy(io.Discard, content); err != nil {
		return fmt.Errorf("layer %s: %w", digest, err)
	}
	return nil
}
