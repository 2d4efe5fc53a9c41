package main

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"gopkg.in/yaml.v3"

	"imgbuild/builder"
	"imgbuild/builder/cache"
)

// How layers are packed in archives of images.
const (
	layersGzip = "gzip"
	layersTar  = "tar"
)

// importedRole makes a folder of own roles with a master that has the same
// parts as imgbuild's, whose container images are archives in its root. The
// cache has all that they are composed from.
func importedRole(ctx context.Context, w *world, from cache.Cache, layers string) (string, error) {
	dir := w.path("imported-roles")
	if err := os.CopyFS(dir, os.DirFS("test/bench/roles")); err != nil {
		return "", err
	}
	if err := os.CopyFS(filepath.Join(dir, "parts"), os.DirFS("roles/parts")); err != nil {
		return "", err
	}
	parts, err := filepath.Glob(filepath.Join(dir, "parts/*/part.yaml"))
	if err != nil {
		return "", err
	}
	for _, file := range parts {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if data, err = withoutImages(data); err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			return "", err
		}
	}
	archives := filepath.Join(dir, "master/rootfs/usr/share/imgbuild/images-to-import")
	return dir, writeArchives(ctx, w, from, archives, layers)
}

// withoutImages takes the images out of a part.yaml.
func withoutImages(part []byte) ([]byte, error) {
	keys := map[string]any{}
	if err := yaml.Unmarshal(part, &keys); err != nil {
		return nil, err
	}
	delete(keys, "images")
	return yaml.Marshal(keys)
}

// writeArchives makes one archive per image of the plan: an OCI layout in a tar.
func writeArchives(ctx context.Context, w *world, from cache.Cache, to, layers string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	layouts := w.path("layouts")
	b := builder.Builder{Cache: from, Self: filepath.Dir(w.program), Log: slog.New(slog.DiscardHandler), Output: io.Discard}
	if err := b.Layouts(ctx, w.plan, layouts); err != nil {
		return err
	}
	for i, img := range w.plan.Images {
		dir := filepath.Join(layouts, strconv.Itoa(i))
		if layers == layersGzip {
			packed, err := os.MkdirTemp(w.dir, "layout-")
			if err != nil {
				return err
			}
			if err := packLayers(dir, packed); err != nil {
				return fmt.Errorf("pack the layers of %s: %w", img.Ref, err)
			}
			dir = packed
		}
		if err := archive(dir, filepath.Join(to, archiveName(img.Ref))); err != nil {
			return fmt.Errorf("archive %s: %w", img.Ref, err)
		}
	}
	return nil
}

func archiveName(ref string) string { return strings.ReplaceAll(path.Base(ref), ":", "_") + ".tar" }

// packLayers writes the one image of a layout anew, its layers compressed with
// gzip.
func packLayers(from, to string) error {
	index, err := layout.ImageIndexFromPath(from)
	if err != nil {
		return err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return err
	}
	if len(m.Manifests) != 1 {
		return fmt.Errorf("%d images, want one", len(m.Manifests))
	}
	only := m.Manifests[0]
	img, err := index.Image(only.Digest)
	if err != nil {
		return err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	plain, err := img.Layers()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.RootFS.DiffIDs, config.History = nil, nil
	packed, err := mutate.ConfigFile(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), config)
	if err != nil {
		return err
	}
	for _, l := range plain {
		layer, err := tarball.LayerFromOpener(l.Uncompressed, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return err
		}
		if packed, err = mutate.Append(packed, mutate.Addendum{Layer: layer, MediaType: types.OCILayer}); err != nil {
			return err
		}
	}
	p, err := layout.Write(to, empty.Index)
	if err != nil {
		return err
	}
	return p.AppendImage(packed, layout.WithPlatform(*only.Platform), layout.WithAnnotations(only.Annotations))
}

// archive writes the files below dir to a tar.
func archive(dir, to string) error {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	t := tar.NewWriter(f)
	if err := t.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}
	return f.Close()
}
