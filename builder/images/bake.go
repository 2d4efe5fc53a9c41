package images

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"imgbuild/builder/cache"
	"imgbuild/builder/sandbox"
)

// bakeVersion changes whenever the same images would give another store.
const bakeVersion = 4

//go:embed bake.sh
var bakeScript string

// bakeConfig is containerd's: a content store, the overlayfs snapshotter and
// nothing that runs containers. Garbage is collected when the script asks for
// it and not in the background.
const bakeConfig = `version = 3
root = "/mnt/store"
state = "/run/bake"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images",
  "io.containerd.nri.v1.nri", "io.containerd.runtime.v2.task", "io.containerd.monitor.task.v1.cgroups",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.native", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.differ.v1.erofs", "io.containerd.internal.v1.opt", "io.containerd.podsandbox.controller.v1.podsandbox",
]
[grpc]
  address = "/run/bake/containerd.sock"
[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "1ms"
  schedule_delay = "1ms"
  mutation_threshold = 0
`

// Baked is a containerd store in the cache: the content of /var/lib/containerd.
type Baked struct {
	Dir string
	// Key changes with everything that the store is made from.
	Key string
	// Digests of the images' manifests by reference.
	Digests map[string]string
}

// Bake composes the images and unpacks them into one store, so that a machine
// neither imports nor unpacks anything at boot. containerd is the component's
// inputs hash. Layer archives are not kept: only what they unpack to is.
func (b Builder) Bake(ctx context.Context, list []Image, containerd string) (Baked, error) {
	key := cache.Key(bakeVersion, list, containerd, b.Epoch, b.arch(), bakeScript, bakeConfig)
	dir, _, err := b.Cache.Dir(ctx, "baked", key, func(ctx context.Context, dir string) error {
		return b.bake(ctx, list, dir)
	})
	if err != nil {
		return Baked{}, fmt.Errorf("bake images: %w", err)
	}
	return readBaked(dir, key)
}

// readBaked finds what an entry of the cache holds.
func readBaked(dir, key string) (Baked, error) {
	baked := Baked{Dir: filepath.Join(dir, "store"), Key: key}
	data, err := os.ReadFile(filepath.Join(dir, "digests.json"))
	if err == nil {
		err = json.Unmarshal(data, &baked.Digests)
	}
	if err != nil {
		return Baked{}, fmt.Errorf("read baked images from the cache: %w: delete %s", err, dir)
	}
	return baked, nil
}

func (b Builder) bake(ctx context.Context, list []Image, dir string) error {
	store := filepath.Join(dir, "store")
	if err := os.Mkdir(store, 0o711); err != nil {
		return err
	}
	digests := map[string]string{}
	argv := []string{"/bin/sh", "/mnt/bake.sh"}
	mounts := []sandbox.Mount{{From: []string{store}, To: "/mnt/store"}}
	layouts, done, err := b.Cache.Scratch("images")
	if err != nil {
		return err
	}
	defer done()
	for i, img := range list {
		layout := filepath.Join(layouts, strconv.Itoa(i))
		if err := os.Mkdir(layout, 0o755); err != nil {
			return err
		}
		digest, err := b.Build(ctx, img, layout)
		if err != nil {
			return err
		}
		config, err := configDigest(layout, digest)
		if err != nil {
			return fmt.Errorf("image %s: %w", img.Ref, err)
		}
		digests[img.Ref] = digest
		argv = append(argv, img.Ref, config)
		mounts = append(mounts, sandbox.Mount{From: []string{layout}, To: "/mnt/images/" + strconv.Itoa(i), ReadOnly: true})
	}
	if err := b.unpack(ctx, argv, mounts); err != nil {
		return err
	}
	if err := settle(store, b.Epoch); err != nil {
		return fmt.Errorf("settle the store: %w", err)
	}
	data, err := json.Marshal(digests)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "digests.json"), data, 0o644)
}

// unpack runs the script in the base tree.
func (b Builder) unpack(ctx context.Context, argv []string, mounts []sandbox.Mount) error {
	programs, err := b.Components(ctx, "containerd")
	if err != nil {
		return fmt.Errorf("component containerd: %w", err)
	}
	scratch, done, err := b.Cache.Scratch("baked")
	if err != nil {
		return err
	}
	defer done()
	mounts = append(mounts, sandbox.Mount{From: []string{programs}, To: "/mnt/bin", ReadOnly: true})
	for name, text := range map[string]string{"bake.sh": bakeScript, "bake.toml": bakeConfig} {
		file := filepath.Join(scratch, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
		mounts = append(mounts, sandbox.Mount{From: []string{file}, To: "/mnt/" + name, ReadOnly: true})
	}
	return sandbox.Run(ctx, sandbox.Spec{
		Layers: b.Tree, Mounts: mounts, Argv: argv, Stdout: b.log(), Stderr: b.log(),
	})
}

// configDigest is the image's id: the digest of its configuration.
func configDigest(layout, manifest string) (string, error) {
	algorithm, hash, ok := strings.Cut(manifest, ":")
	if !ok {
		return "", errors.New("its manifest has no digest")
	}
	f, err := os.Open(filepath.Join(layout, "blobs", algorithm, hash))
	if err != nil {
		return "", err
	}
	defer f.Close()
	m, err := v1.ParseManifest(f)
	if err != nil {
		return "", fmt.Errorf("read its manifest: %w", err)
	}
	return m.Config.Digest.String(), nil
}
