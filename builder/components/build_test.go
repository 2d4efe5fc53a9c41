package components

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/cache"
)

func resolveHere(t *testing.T, name string) Component {
	t.Helper()
	version, err := GoVersion(t.Context())
	require.NoError(t, err)
	c, err := Resolve(name, version)
	require.NoError(t, err)
	return c
}

// sums are the SHA-256 and modes of all files of a directory.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		sum := sha256.Sum256(data)
		m[rel] = info.Mode().String() + " " + hex.EncodeToString(sum[:])
		return err
	}))
	return m
}

func output(t *testing.T, argv ...string) string {
	t.Helper()
	out, _ := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
	return string(out)
}

// TestAComponentIsReproducible compiles the CNI plugins for real, twice, the
// second time from Go's module cache only.
func TestAComponentIsReproducible(t *testing.T) {
	if os.Getenv("IMGBUILD_TEST_ROOT") == "" {
		t.Skip("compiles real components: set IMGBUILD_TEST_ROOT=1")
	}
	c := resolveHere(t, "cni-plugins")
	var made [2]map[string]string
	for i := range made {
		// A setting that would show in the programs must not reach them.
		if i == 1 {
			t.Setenv("GOFLAGS", "-ldflags=-X=main.x=y")
			t.Setenv("GOAMD64", "v3")
		}
		b := Builder{Cache: cache.Cache{Root: t.TempDir()}, Offline: i == 1}
		dir, err := b.Build(t.Context(), c)
		require.NoError(t, err)
		made[i] = sums(t, dir)
		assert.Contains(t, output(t, filepath.Join(dir, "bin/bridge")), "v1.9.1")
	}
	assert.Len(t, made[0], 4)
	assert.Equal(t, made[0], made[1])
}

func TestMissingModulesOfflineIsSaidClearly(t *testing.T) {
	t.Setenv("GOMODCACHE", t.TempDir())
	b := Builder{Cache: cache.Cache{Root: t.TempDir()}, Offline: true}
	_, err := b.Build(t.Context(), resolveHere(t, "cni-plugins"))
	assert.ErrorContains(t, err, "component cni-plugins: modules are missing in Go's module cache and offline forbids fetching them: build once without it")
	assertNothingKept(t, b.Cache)
}

func TestCancelledBuildKeepsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := resolveHere(t, "cni-plugins")
	cancel()
	b := Builder{Cache: cache.Cache{Root: t.TempDir()}}
	_, err := b.Build(ctx, c)
	assert.ErrorIs(t, err, context.Canceled)
	assertNothingKept(t, b.Cache)
}

func TestComponentWithCNeedsACompiler(t *testing.T) {
	b := Builder{Cache: cache.Cache{Root: t.TempDir()}}
	_, err := b.Build(t.Context(), resolveHere(t, "pause"))
	assert.EqualError(t, err, "component pause: it holds C, and there is no tree to compile that in")
	b.Compiler = func(context.Context) (string, error) { return t.TempDir(), nil }
	_, err = b.Build(t.Context(), resolveHere(t, "pause"))
	assert.ErrorContains(t, err, "the compiler's tree has no C compiler")
}

// A failed compilation shows what the compiler said.
func TestFailedCommandShowsItsOutput(t *testing.T) {
	_, err := run(t.Context(), t.TempDir(), os.Environ(), "sh", "-c", "echo x.go:1: undefined: y >&2; exit 1")
	assert.EqualError(t, err, "sh -c: exit status 1:\nx.go:1: undefined: y")
}

func assertNothingKept(t *testing.T, c cache.Cache) {
	t.Helper()
	for _, dir := range []string{"scratch", "components/cni-plugins"} {
		entries, err := os.ReadDir(filepath.Join(c.Root, dir))
		if !os.IsNotExist(err) {
			require.NoError(t, err)
		}
		assert.Empty(t, entries, dir)
	}
}
