package components

import (
	"crypto/sha256"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/cache"
)

// TestVersionsAgree: what component.yaml says is what module.mod requires.
func TestVersionsAgree(t *testing.T) {
	specs, err := All()
	require.NoError(t, err)
	require.NotEmpty(t, specs)
	for _, s := range specs {
		mod, err := folders.ReadFile(s.Name + "/module.mod")
		require.NoError(t, err, s.Name)
		assert.Contains(t, string(mod), s.Module+" "+s.Version, s.Name)
		assert.NotEmpty(t, s.Programs, s.Name)
	}
}

func TestInputsFollowTheGoRelease(t *testing.T) {
	a, err := Resolve("etcd", "go1.26.0")
	require.NoError(t, err)
	b, err := Resolve("etcd", "go1.26.1")
	require.NoError(t, err)
	assert.NotEqual(t, a.Inputs, b.Inputs)
	assert.Equal(t, "v3.6.8", a.Version)
	_, err = Resolve("nothing", "go1.26.0")
	assert.EqualError(t, err, "component nothing: there is none of that name")
}

func TestALockOfOtherInputsIsRefused(t *testing.T) {
	b := Builder{Cache: cache.Cache{Root: t.TempDir()}, Log: quiet()}
	_, err := b.Build(t.Context(), Component{Name: "etcd", Version: "v3.6.8", Source: "modules", Inputs: "0123456789abcdef"})
	assert.ErrorContains(t, err, "imgbuild.lock has v3.6.8 with inputs 0123456789ab")
	assert.ErrorContains(t, err, "run imgbuild lock")
}

// TestAComponentIsReproducible compiles the CNI plugins for real, twice.
func TestAComponentIsReproducible(t *testing.T) {
	if os.Getenv("IMGBUILD_TEST_ROOT") == "" {
		t.Skip("compiles real components: set IMGBUILD_TEST_ROOT=1")
	}
	version, err := GoVersion(t.Context())
	require.NoError(t, err)
	c, err := Resolve("cni-plugins", version)
	require.NoError(t, err)
	var sums [2][32]byte
	for i := range sums {
		b := Builder{Cache: cache.Cache{Root: t.TempDir()}, Offline: i == 1, Log: quiet()}
		dir, err := b.Build(t.Context(), c)
		require.NoError(t, err)
		data, err := os.ReadFile(filepath.Join(dir, "bin/bridge"))
		require.NoError(t, err)
		sums[i] = sha256.Sum256(data)
		if i == 0 {
			out, _ := exec.CommandContext(t.Context(), filepath.Join(dir, "bin/bridge")).CombinedOutput()
			assert.Contains(t, string(out), "v1.9.1")
		}
	}
	assert.Equal(t, sums[0], sums[1])
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }
