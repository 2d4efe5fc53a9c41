package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"imgbuild/builder/cache"
	"imgbuild/builder/components"
	"imgbuild/builder/disk"
	"imgbuild/builder/host"
	"imgbuild/builder/images"
	"imgbuild/builder/manifest"
	"imgbuild/builder/packages"
	"imgbuild/builder/rootfs"
)

// Formats that Build can write.
const (
	FormatRaw   = "raw"
	FormatQcow2 = "qcow2"
)

// Formats lists them, the default first.
func Formats() []string { return []string{FormatRaw, FormatQcow2} }

// CheckFormats refuses a list that Build cannot write: it wants one format or
// more, each once.
func CheckFormats(formats []string) error {
	if len(formats) == 0 {
		return fmt.Errorf("format: expected some of %s", strings.Join(Formats(), ", "))
	}
	for i, f := range formats {
		if !slices.Contains(Formats(), f) || slices.Contains(formats[:i], f) {
			return fmt.Errorf("format %s: expected each at most once of %s", f, strings.Join(Formats(), ", "))
		}
	}
	return nil
}

// Builder executes plans. Builds of different roles may run side by side in one
// cache and one output folder. The mode of what is made follows the process's
// umask: it wants 022.
type Builder struct {
	Cache cache.Cache
	// Self is the folder of imgbuild's own programs.
	Self string
	// Offline forbids the network: everything must be in the cache.
	Offline bool
	Log     *slog.Logger
	// Output gets what the programs of the build print.
	Output io.Writer
	// Step is told each step that begins, of how many.
	Step func(n, of int, name string)
	// Gathered, where it is set, is called when all that goes into the image is
	// made, and file systems and checks are left: no compiler runs any more, which
	// is the moment to begin another build.
	Gathered func()
}

// Result is what a build left.
type Result struct {
	// Fresh is false where the image was there already.
	Fresh    bool
	Manifest manifest.Manifest
}

// steps are what a build does, in order.
var steps = []string{
	"packages", "package layers", "components", "container images", "files",
	"disk image", "verification", "manifest",
}

// Build makes the image of the plan in the folder out: ROLE.FORMAT for each
// format, ROLE.manifest.json and ROLE.spdx.json, and nothing else. Files appear
// whole or not at all; the manifest is last. Where the folder holds the image
// of this very plan already, nothing is done.
func (b Builder) Build(ctx context.Context, p Plan, out string, formats []string) (Result, error) {
	if err := CheckFormats(formats); err != nil {
		return Result{}, fmt.Errorf("build role %s: %w", p.Role, err)
	}
	if m, ok := b.present(p, out, formats); ok {
		return Result{Manifest: m}, nil
	}
	if os.Geteuid() != 0 {
		return Result{}, errors.New("building an image needs root: it mounts overlays and keeps the owners of files")
	}
	if err := b.begin(p); err != nil {
		return Result{}, fmt.Errorf("build role %s: %w", p.Role, err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return Result{}, fmt.Errorf("make output folder: %w", err)
	}
	dir, done, err := b.Cache.Scratch("build")
	if err != nil {
		return Result{}, err
	}
	defer done()
	r := &run{Builder: b, plan: p, hash: p.Hash(), dir: dir, out: out, formats: formats}
	defer r.close()
	m, err := r.all(ctx)
	if ctx.Err() != nil {
		return Result{}, &interruptedError{role: p.Role, step: steps[r.step-1], cause: ctx.Err()}
	}
	if err != nil {
		return Result{}, fmt.Errorf("build role %s: %w", p.Role, r.explain(err))
	}
	return Result{Fresh: true, Manifest: m}, nil
}

// begin finds what would stop the build later, and clears away what builds that
// were killed have left.
func (b Builder) begin(p Plan) error {
	if err := host.CheckBuild(); err != nil {
		return err
	}
	for _, c := range p.Components {
		if c.Source == SourceSelf {
			continue
		}
		if err := components.Check(c); err != nil {
			return err
		}
	}
	swept, err := b.Cache.Sweep()
	if swept > 0 {
		b.Log.Info("removed what builds that were killed had left", "folders", swept)
	}
	return err
}

// present reports whether out holds what Build would make. Images carry the
// plan's epoch as their time, so one that was changed is not taken for it.
func (b Builder) present(p Plan, out string, formats []string) (manifest.Manifest, bool) {
	m, err := manifest.Read(manifest.File(out, p.Role))
	if err != nil || m.Plan != p.Hash() || len(m.Files) != len(formats) {
		return m, false
	}
	for _, f := range m.Files {
		info, err := os.Stat(filepath.Join(out, f.Name))
		if err != nil || info.Size() != f.Size || info.ModTime().Unix() != p.Epoch || !slices.Contains(formats, f.Format) {
			return m, false
		}
	}
	_, err = os.Stat(manifest.SBOMFile(out, p.Role))
	return m, err == nil
}

// run is one build: what its steps have made so far.
type run struct {
	Builder
	plan    Plan
	hash    string
	dir     string
	out     string
	formats []string
	step    int

	inputs       map[string]string
	tools        []rootfs.Layer
	layers, boot []rootfs.Layer
	// baked is the container store of the image.
	baked images.Baked
	// seeded is the storage of its registry.
	seeded    images.Baked
	initramfs string
	root      root
	// state is where the cache keeps the state partition.
	state string
	// image is the raw image while it is written, table what is in it.
	image *disk.Image
	table []disk.Written
	// rawSum is the SHA-256 of the raw image.
	rawSum string
}

// root is the root file system and what verifies it.
type root struct {
	data, tree, hash string
	uki              string
}

// close removes what is left of an image that did not get its name.
func (r *run) close() {
	if r.image != nil {
		r.image.Close()
		os.Remove(r.raw())
	}
}

// next announces the next step.
func (r *run) next() {
	if r.Step != nil {
		r.Step(r.step+1, len(steps), steps[r.step])
	}
	r.step++
}

func (r *run) all(ctx context.Context) (manifest.Manifest, error) {
	for _, f := range []func(context.Context) error{
		r.fetch, r.makeLayers, r.makeComponents, r.makeImages, r.makeFiles, r.makeImage, r.verify,
	} {
		r.next()
		if err := ctx.Err(); err != nil {
			return manifest.Manifest{}, err
		}
		start, name := time.Now(), steps[r.step-1]
		if err := f(ctx); err != nil {
			return manifest.Manifest{}, err
		}
		r.Log.Debug("step done", "step", name, "seconds", time.Since(start).Round(10*time.Millisecond).Seconds())
	}
	r.next()
	return r.attest(ctx)
}

// uuid is a UUID of the image's own for a purpose: UUIDv5 of the plan's hash.
func (r *run) uuid(purpose string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("imgbuild:"+r.hash+":"+purpose)).String()
}

func (r *run) maker() rootfs.Maker {
	return rootfs.Maker{Cache: r.Cache, Epoch: r.plan.Epoch, Log: r.Log, Output: r.Output}
}

func (r *run) diskTools() disk.Tools {
	return disk.Tools{Layers: rootfs.Dirs(r.tools), Epoch: r.plan.Epoch, Output: r.Output}
}

func (r *run) fetch(ctx context.Context) error {
	if err := packages.Fetch(ctx, r.Cache, r.plan.Tools, r.plan.Packages.Tools, r.Offline, r.Log); err != nil {
		return err
	}
	p := r.plan.Packages
	return packages.Fetch(ctx, r.Cache, r.plan.Base, slices.Concat(p.Base, p.Role, p.Boot), r.Offline, r.Log)
}

// component gives the folder of a component, which it makes where the cache
// lacks it.
func (r *run) component(ctx context.Context, name string) (string, error) {
	i := slices.IndexFunc(r.plan.Components, func(c components.Component) bool { return c.Name == name })
	if i < 0 {
		return "", fmt.Errorf("component %s: not in the plan", name)
	}
	c := r.plan.Components[i]
	if c.Source == SourceSelf {
		return r.Self, checkSelf(filepath.Join(r.Self, name), c.Inputs)
	}
	return components.Builder{
		Cache: r.Cache, Compiler: r.compiler, CompilerKey: cache.Key(digests(r.plan.Packages.Compiler)),
		Offline: r.Offline, Log: r.Log,
	}.Build(ctx, c)
}

// compiler makes the tree that components with C in them are compiled in.
func (r *run) compiler(ctx context.Context) (string, error) {
	pkgs := r.plan.Packages.Compiler
	if err := packages.Fetch(ctx, r.Cache, r.plan.Tools, pkgs, r.Offline, r.Log); err != nil {
		return "", err
	}
	l, err := r.maker().Base(ctx, pkgs)
	return l.Dir, err
}

func checkSelf(file, want string) error {
	got, err := SumFile(file)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s has changed since the plan was made: run the command again", file)
	}
	return nil
}

// SumFile is the hex SHA-256 of a file.
func SumFile(file string) (string, error) { return sumFile(context.Background(), file) }

func sumFile(ctx context.Context, file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		switch _, err := io.CopyN(h, f, 16<<20); {
		case errors.Is(err, io.EOF):
			return hex.EncodeToString(h.Sum(nil)), nil
		case err != nil:
			return "", fmt.Errorf("read %s: %w", file, err)
		}
	}
}
