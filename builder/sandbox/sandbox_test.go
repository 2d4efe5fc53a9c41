package sandbox

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// needRoot skips where the kernel would refuse a mount namespace.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getenv("IMGBUILD_TEST_ROOT") == "" {
		t.Skip("needs root: set IMGBUILD_TEST_ROOT=1")
	}
}

// host is a root that is sure to have a shell; everything in it is read-only.
func host() []string { return []string{"/"} }

func TestTheRootIsReadOnlyAndThereIsNoNetwork(t *testing.T) {
	needRoot(t)
	var out bytes.Buffer
	err := Run(t.Context(), Spec{
		Layers: host(), Stdout: &out,
		Argv: []string{"sh", "-c", "touch /usr/x 2>&1; ls /sys/class/net; echo pid $$"},
	})
	require.NoError(t, err)
	assert.Contains(t, out.String(), "Read-only file system")
	assert.NotContains(t, out.String(), "eth")
}

func TestAMountTakesWhatIsWritten(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for _, d := range []string{"out"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	err := Run(t.Context(), Spec{
		Layers: host(),
		Mounts: []Mount{{From: []string{filepath.Join(dir, "out")}, To: "/mnt/it's out"}},
		Argv:   []string{"sh", "-c", "echo x > \"/mnt/it's out/file\""},
	})
	require.NoError(t, err)
	data, err := os.ReadFile(filepath.Join(dir, "out/file"))
	require.NoError(t, err)
	assert.Equal(t, "x\n", string(data))
}

// TestPartOfAnOverlay mounts what is below a directory of merged layers, and
// another directory in it.
func TestPartOfAnOverlay(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for _, file := range []string{"low/var/in/file", "top/var/lib/file", "top/etc/file", "store/blob"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), nil, 0o644))
	}
	var out bytes.Buffer
	err := Run(t.Context(), Spec{
		Layers: host(), Stdout: &out,
		Mounts: []Mount{
			{From: []string{filepath.Join(dir, "low"), filepath.Join(dir, "top")}, To: "/mnt/root", ReadOnly: true},
			{From: []string{"/mnt/root/var"}, Inside: true, To: "/mnt/var", ReadOnly: true},
			{From: []string{filepath.Join(dir, "store")}, To: "/mnt/var/in", ReadOnly: true},
		},
		Argv: []string{"sh", "-c", "cd /mnt/var && find . -type f | sort; touch x in/x 2>&1"},
	})
	assert.ErrorContains(t, err, "exit status 1")
	assert.Contains(t, out.String(), "./in/blob\n./lib/file\n")
	assert.Equal(t, 2, strings.Count(out.String(), "Read-only file system"))
	assert.NoFileExists(t, filepath.Join(dir, "store/x"))
}

func TestAFailureNamesTheProgramAndItsWords(t *testing.T) {
	needRoot(t)
	err := Run(t.Context(), Spec{Layers: host(), Argv: []string{"sh", "-c", "echo no space left >&2; exit 3"}})
	assert.ErrorContains(t, err, "exit status 3: no space left")
}

// TestCancelLeavesNothing: when Run returns, neither a process nor a mount of
// the sandbox is left.
func TestCancelLeavesNothing(t *testing.T) {
	needRoot(t)
	ready := filepath.Join(t.TempDir(), "ready")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Spec{
			Layers: host(),
			Mounts: []Mount{{From: []string{filepath.Dir(ready)}, To: "/mnt/out"}},
			Argv:   []string{"sh", "-c", "touch /mnt/out/ready; sleep 4242"},
		})
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(ready); return err == nil }, 20*time.Second, 10*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Eventually(t, func() bool { return !running(t, "sleep\x004242") }, 10*time.Second, 10*time.Millisecond)
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	assert.NotContains(t, string(mounts), root)
}

func running(t *testing.T, command string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(data), command) {
			return true
		}
	}
	return false
}
