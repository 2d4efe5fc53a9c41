package builder

import (
	"context"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/cache"
	"imgbuild/builder/manifest"
)

// newBuilder has an empty cache and must not use the network: whatever it
// begins to build fails at its first step.
func newBuilder(t *testing.T) Builder {
	t.Helper()
	return Builder{
		Cache: cache.Cache{Root: t.TempDir()}, Self: t.TempDir(), Offline: true,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Output: io.Discard,
	}
}

// built fills out as a build of the plan leaves it, with files that are no images.
func built(t *testing.T, p Plan, out string, formats ...string) {
	t.Helper()
	m := manifest.Manifest{Version: manifest.Version, Role: p.Role, Plan: p.Hash(), Epoch: p.Epoch}
	for _, format := range formats {
		file := filepath.Join(out, p.Role+"."+format)
		require.NoError(t, os.WriteFile(file, []byte("image as "+format), 0o644))
		require.NoError(t, os.Chtimes(file, time.Unix(p.Epoch, 0), time.Unix(p.Epoch, 0)))
		m.Files = append(m.Files, manifest.ImageFile{Name: filepath.Base(file), Format: format, Size: int64(len("image as " + format))})
	}
	require.NoError(t, m.WriteSBOM(manifest.SBOMFile(out, p.Role)))
	require.NoError(t, m.Write(manifest.File(out, p.Role)))
}

func TestBuildNeedsRoot(t *testing.T) {
	b, out := newBuilder(t), filepath.Join(t.TempDir(), "out")
	if os.Geteuid() == 0 {
		const nobody = 65534
		require.NoError(t, syscall.Setresuid(-1, nobody, -1))
		t.Cleanup(func() { require.NoError(t, syscall.Setresuid(-1, 0, -1)) })
	}
	_, err := b.Build(t.Context(), example(), out, []string{FormatRaw})
	assert.ErrorContains(t, err, "needs root")
	assert.NoDirExists(t, out)
}

// TestUnknownFormats are refused before anything is begun, also where an image
// is there already.
func TestUnknownFormats(t *testing.T) {
	p, out := example(), t.TempDir()
	built(t, p, out, FormatRaw)
	before := filesBelow(t, out)
	for want, formats := range map[string][]string{
		"format: expected some of raw, qcow2":                     {},
		"format vmdk: expected each at most once of raw, qcow2":   {FormatRaw, "vmdk"},
		"format raw: expected each at most once of raw, qcow2":    {FormatRaw, FormatRaw},
		"format ../raw: expected each at most once of raw, qcow2": {"../raw"},
	} {
		b := newBuilder(t)
		_, err := b.Build(t.Context(), p, out, formats)
		assert.EqualError(t, err, "build role master: "+want)
		assert.Empty(t, filesBelow(t, b.Cache.Root))
	}
	assert.Equal(t, before, filesBelow(t, out))
}

// TestUnchangedIsNotBuilt needs neither root nor network nor cache.
func TestUnchangedIsNotBuilt(t *testing.T) {
	p, out := example(), t.TempDir()
	built(t, p, out, FormatRaw, FormatQcow2)
	b := newBuilder(t)
	b.Step = func(int, int, string) { t.Error("a step has begun") }
	for _, formats := range [][]string{{FormatRaw, FormatQcow2}, {FormatQcow2, FormatRaw}} {
		r, err := b.Build(t.Context(), p, out, formats)
		require.NoError(t, err)
		assert.False(t, r.Fresh)
		assert.Equal(t, p.Hash(), r.Manifest.Plan)
	}
	assert.Empty(t, filesBelow(t, b.Cache.Root))
}

// TestChangedIsBuilt: whatever is not the image of this plan is built anew, and
// what was there stays until there is something better.
func TestChangedIsBuilt(t *testing.T) {
	raw := []string{FormatRaw}
	for name, c := range map[string]struct {
		formats []string
		change  func(t *testing.T, p *Plan, out string)
	}{
		"other plan": {raw, func(_ *testing.T, p *Plan, _ string) { p.Cmdline = []string{"rw"} }},
		"other role": {raw, func(_ *testing.T, p *Plan, _ string) { p.Role = "worker" }},
		"changed since": {raw, func(t *testing.T, _ *Plan, out string) {
			require.NoError(t, os.WriteFile(filepath.Join(out, "master.raw"), []byte("IMAGE as raw"), 0o644))
		}},
		"other size": {raw, func(t *testing.T, p *Plan, out string) {
			file := filepath.Join(out, "master.raw")
			require.NoError(t, os.WriteFile(file, []byte("image"), 0o644))
			require.NoError(t, os.Chtimes(file, time.Unix(p.Epoch, 0), time.Unix(p.Epoch, 0)))
		}},
		"image gone": {raw, func(t *testing.T, _ *Plan, out string) {
			require.NoError(t, os.Remove(filepath.Join(out, "master.raw")))
		}},
		"manifest gone": {raw, func(t *testing.T, _ *Plan, out string) {
			require.NoError(t, os.Remove(manifest.File(out, "master")))
		}},
		"manifest cut": {raw, func(t *testing.T, _ *Plan, out string) {
			require.NoError(t, os.Truncate(manifest.File(out, "master"), 100))
		}},
		"SBOM gone": {raw, func(t *testing.T, _ *Plan, out string) {
			require.NoError(t, os.Remove(manifest.SBOMFile(out, "master")))
		}},
		"one more format": {Formats(), func(*testing.T, *Plan, string) {}},
		"other format":    {[]string{FormatQcow2}, func(*testing.T, *Plan, string) {}},
	} {
		t.Run(name, func(t *testing.T) {
			p, out := example(), t.TempDir()
			p.Components = nil // no imgbuild would make them
			built(t, p, out, FormatRaw)
			c.change(t, &p, out)
			before := filesBelow(t, out)
			b := newBuilder(t)
			_, ok := b.present(p, out, c.formats)
			assert.False(t, ok)
			_, err := b.Build(t.Context(), p, out, c.formats)
			if os.Geteuid() != 0 {
				assert.ErrorContains(t, err, "needs root")
			} else {
				assert.ErrorContains(t, err, "build role "+p.Role+": 1 package files are not in the cache (tools_1.0_amd64.deb)")
			}
			assert.Equal(t, before, filesBelow(t, out))
		})
	}
}

// TestComponentOfAnotherImgbuild is refused before anything is done.
func TestComponentOfAnotherImgbuild(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to begin a build")
	}
	b, out := newBuilder(t), filepath.Join(t.TempDir(), "out")
	_, err := b.Build(t.Context(), example(), out, []string{FormatRaw})
	assert.ErrorContains(t, err, "build role master: component etcd: imgbuild.lock has inputs etcd-inputs…, this imgbuild has ")
	assert.ErrorContains(t, err, ": run imgbuild lock")
	assert.NoDirExists(t, out)
}

// TestCancelledBuild is stopped at its first steps and leaves nothing.
func TestCancelledBuild(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to begin a build")
	}
	p := example()
	p.Packages, p.Components = Packages{}, nil
	for _, at := range []string{"packages", "package layers"} {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b, out := newBuilder(t), filepath.Join(t.TempDir(), "out")
			b.Step = func(_, _ int, name string) {
				if name == at {
					cancel()
				}
			}
			_, err := b.Build(ctx, p, out, Formats())
			require.ErrorIs(t, err, context.Canceled)
			assert.EqualError(t, err, "build role master: interrupted in step "+at+": nothing half-made is left, the same command goes on from there")
			assert.Empty(t, filesBelow(t, out))
			assert.Empty(t, filesBelow(t, filepath.Join(b.Cache.Root, "scratch")))
		})
	}
}

// filesBelow maps the paths below dir to their content; files that only hold
// locks do not count.
func filesBelow(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		text := "a directory"
		if !d.IsDir() {
			var data []byte
			if data, err = os.ReadFile(p); err == nil {
				text = string(data)
			}
		}
		found[p] = text
		return err
	}))
	return found
}

// TestOtherAgent: the plan names the agent's very bytes.
func TestOtherAgent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "imgbuild-firstboot")
	require.NoError(t, os.WriteFile(file, []byte("agent"), 0o755))
	sum, err := SumFile(file)
	require.NoError(t, err)
	require.NoError(t, checkSelf(file, sum))
	require.NoError(t, os.WriteFile(file, []byte("another"), 0o755))
	assert.EqualError(t, checkSelf(file, sum), file+" has changed since the plan was made: run the command again")
	require.NoError(t, os.Remove(file))
	assert.ErrorIs(t, checkSelf(file, sum), os.ErrNotExist)
}
