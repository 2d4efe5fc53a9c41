package images

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"imgbuild/builder/cache"
	"imgbuild/builder/rootfs"
)

// seededVersion changes whenever the same images would give another tree.
const seededVersion = 1

// Seeded is an image in the storage of the registry that the machine runs.
type Seeded struct {
	Image
	// As is what the registry calls it: REPOSITORY:TAG, or REPOSITORY where it is
	// known by its digest only.
	As string `json:"as"`
}

// Seed makes a storage of the distribution registry with the images, as pushing
// them would. Format: the path layout of its filesystem driver,
// https://github.com/distribution/distribution/blob/v3.1.2/registry/storage/paths.go
func (b Builder) Seed(ctx context.Context, list []Seeded) (Baked, error) {
	key := cache.Key(seededVersion, list, b.Epoch, b.arch())
	dir, _, err := b.Cache.Dir(ctx, "seeded", key, func(ctx context.Context, dir string) error {
		return b.seed(ctx, list, dir)
	})
	if err != nil {
		return Baked{}, fmt.Errorf("make the registry's storage: %w", err)
	}
	return readBaked(dir, key)
}

func (b Builder) seed(ctx context.Context, list []Seeded, dir string) error {
	digests := map[string]string{}
	for i, img := range list {
		layouts, done, err := b.Cache.Scratch("images")
		if err != nil {
			return err
		}
		layout := filepath.Join(layouts, strconv.Itoa(i))
		if err = os.Mkdir(layout, 0o755); err == nil {
			digests[img.Ref], err = b.seedOne(ctx, img, layout, filepath.Join(dir, "store"))
		}
		done()
		if err != nil {
			return err
		}
	}
	err := filepath.WalkDir(filepath.Join(dir, "store"), func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return rootfs.SetTime(p, b.Epoch)
	})
	if err != nil {
		return err
	}
	data, err := json.Marshal(digests)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "digests.json"), data, 0o644)
}

// seedOne moves the blobs of an image's layout into the storage and links them.
func (b Builder) seedOne(ctx context.Context, img Seeded, layout, store string) (digest string, err error) {
	if digest, err = b.Build(ctx, img.Image, layout); err != nil {
		return "", err
	}
	root := filepath.Join(store, "docker/registry/v2")
	blobs, err := os.ReadDir(filepath.Join(layout, "blobs/sha256"))
	if err != nil {
		return "", fmt.Errorf("image %s: %w", img.Ref, err)
	}
	repository, tag := img.As, ""
	if i := strings.LastIndex(img.As, ":"); i > strings.LastIndex(img.As, "/") {
		repository, tag = img.As[:i], img.As[i+1:]
	}
	repository = filepath.Join(root, "repositories", repository)
	for _, blob := range blobs {
		hash := blob.Name()
		data := filepath.Join(root, "blobs/sha256", hash[:2], hash, "data")
		if err := moveFile(filepath.Join(layout, "blobs/sha256", hash), data); err != nil {
			return "", fmt.Errorf("image %s: %w", img.Ref, err)
		}
		if "sha256:"+hash == digest {
			continue
		}
		if err := linkBlob(filepath.Join(repository, "_layers/sha256", hash), "sha256:"+hash); err != nil {
			return "", fmt.Errorf("image %s: %w", img.Ref, err)
		}
	}
	_, hash, _ := strings.Cut(digest, ":")
	links := []string{"_manifests/revisions/sha256/" + hash}
	if tag != "" {
		links = append(links, "_manifests/tags/"+tag+"/current", "_manifests/tags/"+tag+"/index/sha256/"+hash)
	}
	for _, name := range links {
		if err := linkBlob(filepath.Join(repository, name), digest); err != nil {
			return "", fmt.Errorf("image %s: %w", img.Ref, err)
		}
	}
	return digest, nil
}

// linkBlob is how the storage says that a repository has a blob.
func linkBlob(dir, digest string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "link"), []byte(digest), 0o644)
}

// moveFile moves a file within the cache; one that is there already is the same.
func moveFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.Rename(from, to)
}
