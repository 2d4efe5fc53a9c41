package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"imgbuild/builder/cache"
)

// pullVersion changes whenever the same digest would be kept in another form.
const pullVersion = 1

// Composed says whether the image of ref is made from components. All others are
// pulled from where their name says.
func Composed(ref string) bool {
	_, err := find(ref)
	return err == nil
}

// Pin asks the registry of ref which image the name stands for now on the
// architecture. A name with a digest is asked for nonetheless: what cannot be
// had shows here and not in a build.
func Pin(ctx context.Context, ref, arch string) (Image, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", ref, err)
	}
	found, err := remote.Get(parsed, pullOptions(ctx, arch)...)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: its registry cannot be had from here: %w", ref, err)
	}
	img, err := found.Image()
	if err != nil {
		return Image{}, fmt.Errorf("image %s: not for linux/%s: %w", ref, arch, err)
	}
	digest, err := img.Digest()
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", ref, err)
	}
	return Image{Ref: ref, Inputs: digest.Hex, Digest: digest.String()}, nil
}

// pullOptions are the library's: it tries again what fails for a moment, and
// uses the credentials that docker login has left.
func pullOptions(ctx context.Context, arch string) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithUserAgent("imgbuild"), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}),
	}
}

// pull leaves the image of its digest as an OCI layout in dir, from the cache
// where that has it. Every byte is checked against the digest.
func (b Builder) pull(ctx context.Context, img Image, dir string) error {
	kept, _, err := b.Cache.Dir(ctx, "pulled", cache.Key(pullVersion, img.Ref, img.Digest), func(ctx context.Context, dir string) error {
		if b.Offline {
			return errors.New("not in the cache: run the command without --offline")
		}
		fmt.Fprintf(b.log(), "pull image %s\n", img.Ref)
		return b.download(ctx, img, dir)
	})
	if err != nil {
		return fmt.Errorf("pull image %s: %w", img.Ref, err)
	}
	if err := linkTree(kept, dir); err != nil {
		return fmt.Errorf("pull image %s: %w", img.Ref, err)
	}
	return nil
}

func (b Builder) download(ctx context.Context, img Image, dir string) error {
	ref, err := name.ParseReference(img.Ref)
	if err != nil {
		return err
	}
	found, err := remote.Image(ref.Context().Digest(img.Digest), pullOptions(ctx, b.arch())...)
	if err != nil {
		return err
	}
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return p.AppendImage(found, b.named(img.Ref)...)
}

// linkTree gives every file below from a second name below to, which is on the
// same file system: both are in the cache.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, below), 0o755)
		}
		return os.Link(p, filepath.Join(to, below))
	})
}
