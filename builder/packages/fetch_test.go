package packages

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/cache"
)

var example = Package{Name: "example", Version: "1:2-404", Arch: "all", File: "pool/e/example.deb", Archive: "debian", SHA256: "00", Size: 4096}

func TestOfflineNamesWhatIsMissing(t *testing.T) {
	pkgs := []Package{example, example, example, example}
	err := Fetch(t.Context(), cache.Cache{Root: t.TempDir()}, Source{Name: "debian-13", Family: "apt"}, pkgs, true, slog.New(slog.DiscardHandler))
	deb := "example_1%3a2-404_all.deb"
	assert.EqualError(t, err, "4 package files are not in the cache ("+deb+", "+deb+", "+deb+", …): run once without --offline")
}

// TestFetchChecksThePinnedHash uses a mirror that is a directory.
func TestFetchChecksThePinnedHash(t *testing.T) {
	if _, err := os.Stat("/usr/lib/apt/apt-helper"); err != nil {
		t.Skip("needs apt")
	}
	mirror, content := t.TempDir(), []byte("a package\n")
	require.NoError(t, os.MkdirAll(filepath.Join(mirror, "pool/e"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(mirror, example.File), content, 0o644))
	c, s := cache.Cache{Root: t.TempDir()}, Source{Name: "debian-13", Family: "apt", Suite: "trixie", Mirror: "copy:" + mirror}
	log := slog.New(slog.DiscardHandler)

	sum := sha256.Sum256(content)
	good := example
	good.SHA256 = hex.EncodeToString(sum[:])
	err := Fetch(t.Context(), c, s, []Package{example}, false, log)
	assert.ErrorContains(t, err, "package example 1:2-404: SHA-256 is "+good.SHA256+", imgbuild.lock has 00:")
	assert.NoFileExists(t, File(c, example))

	require.NoError(t, Fetch(t.Context(), c, s, []Package{good}, false, log))
	data, err := os.ReadFile(File(c, good))
	require.NoError(t, err)
	assert.Equal(t, content, data)
	assert.NoError(t, Fetch(t.Context(), c, s, []Package{good}, true, log), "a full cache needs no mirror")
}

func TestFetchErrorsSayWhatToDo(t *testing.T) {
	for cause, want := range map[string]string{
		"E: Failed to fetch http://m.example/example_404.deb  404  Not Found [IP: 192.0.2.1 80]":     "no longer on the mirror http://m.example: run imgbuild lock",
		"E: Failed to fetch http://m.example/example_404.deb  Could not connect to m.example:80":     "from http://m.example: is the mirror reachable?",
		"E: Failed to fetch http://m.example/example_404.deb  write error - No space left on device": "fetch package example 1:2-404: E: Failed to fetch",
	} {
		assert.ErrorContains(t, fetchError(example, "http://m.example", errors.New(cause)), want)
	}
}
