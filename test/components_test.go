package test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/cache"
	"imgbuild/builder/components"
	"imgbuild/builder/packages"
	"imgbuild/builder/rootfs"
	"imgbuild/roles"
)

func (w *world) lock() roles.Lock {
	w.t.Helper()
	l, err := roles.ReadLock(filepath.Join(w.dir, "imgbuild.lock"))
	require.NoError(w.t, err)
	return l
}

// tree is one of the lock's that stand alone, in the machine's cache.
func (w *world) tree(name string) rootfs.Layer {
	w.t.Helper()
	l, log, c := w.lock(), slog.New(slog.DiscardHandler), cache.Cache{Root: w.cache}
	t := l.Trees[name]
	require.NoError(w.t, packages.Fetch(w.t.Context(), c, t.Source, t.Packages, false, log))
	tree, err := rootfs.Maker{Cache: c, Epoch: l.Epoch, Log: log}.Base(w.t.Context(), t.Packages)
	require.NoError(w.t, err)
	return tree
}

// component makes a component of the lock in the cache root, with a compiler
// from the machine's cache.
func (w *world) component(name, root string) string {
	w.t.Helper()
	c, err := w.lock().Component(name)
	require.NoError(w.t, err)
	dir, err := components.Builder{
		Cache: cache.Cache{Root: root}, Log: slog.New(slog.DiscardHandler),
		Compiler: func(context.Context) (string, error) { return w.tree("compiler").Dir, nil },
	}.Build(w.t.Context(), c)
	require.NoError(w.t, err)
	return dir
}

// sums are the SHA-256 and modes of all files below a directory.
func sums(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	m := map[string][32]byte{}
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		rel, _ := filepath.Rel(dir, p)
		m[info.Mode().String()+" "+rel] = sha256.Sum256(data)
		return err
	}))
	return m
}

func output(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

func TestPauseIsStaticAndReproducible(t *testing.T) {
	w := newWorld(t)
	first, second := w.component("pause", t.TempDir()), w.component("pause", t.TempDir())
	assert.Equal(t, "pause.c v3.10.2\n", output(t, filepath.Join(first, "bin/pause"), "-v"))
	assert.Equal(t, sums(t, first), sums(t, second))
}

func TestIgnitionComesWithItsDracutModule(t *testing.T) {
	w := newWorld(t)
	dir := w.component("ignition", t.TempDir())
	assert.Equal(t, "Ignition v2.26.0\n", output(t, filepath.Join(dir, "bin/ignition"), "--version"))
	assert.Contains(t, output(t, filepath.Join(dir, "bin/ignition-validate"), "--version"), "v2.26.0")
	// Dracut and systemd run these; module archives keep no modes.
	for _, f := range []string{"module-setup.sh", "ignition-generator"} {
		info, err := os.Stat(filepath.Join(dir, "dracut/30ignition", f))
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o755), info.Mode().Perm(), f)
	}
	assert.Equal(t, sums(t, dir), sums(t, w.component("ignition", t.TempDir())))
}

// TestKubeadmAcceptsTheConfig gives the agent's golden files to the kubeadm that
// is in the image.
func TestKubeadmAcceptsTheConfig(t *testing.T) {
	w := newWorld(t)
	files, err := filepath.Glob("../firstboot/testdata/kubeadm-*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	kubeadm := filepath.Join(w.component("kubernetes", w.cache), "bin/kubeadm")
	// A joining master's names a file that the agent has written before.
	discovery := filepath.Join(t.TempDir(), "discovery.conf")
	require.NoError(t, os.WriteFile(discovery, nil, 0o600))
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		config := filepath.Join(t.TempDir(), filepath.Base(file))
		text = bytes.ReplaceAll(text, []byte("/run/imgbuild/discovery.conf"), []byte(discovery))
		require.NoError(t, os.WriteFile(config, text, 0o600))
		t.Log(output(t, kubeadm, "config", "validate", "--config", config))
	}
}
