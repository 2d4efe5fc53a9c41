package lab

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain lets the tests' binary be the supervisor that the lab starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "supervise" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := Supervise(ctx, os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// newLab is a lab that is down when the test ends.
func newLab(t *testing.T) *Lab {
	t.Helper()
	if err := CheckHost(); err != nil {
		if os.Getenv("IMGBUILD_TEST_ROOT") != "" {
			t.Fatal(err)
		}
		t.Skip("no machine is started: ", err)
	}
	program, err := os.Executable()
	require.NoError(t, err)
	l := &Lab{
		Name:       fmt.Sprintf("test-%d", os.Getpid()),
		Dir:        filepath.Join(t.TempDir(), "lab", "a-name-so-long-that-the-path-of-a-socket-in-here-is-longer-than-the-kernel-takes"),
		Subnet:     netip.MustParsePrefix("10.77.0.0/24"),
		Supervisor: []string{program, "supervise"},
	}
	t.Cleanup(func() { assert.NoError(t, l.Down(context.Background())) })
	return l
}

func emptyImage(t *testing.T) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "master.raw")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 8<<20))
	return image
}

const secret = `{"ignition": {"version": "3.4.0"}, "a secret": "kept"}`

// One machine with nothing on its disk, from its first power-on to the end of
// the lab.
func TestMachine(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	node := Node{
		Name: "master-1", Role: "master", MAC: "52:54:00:77:00:11", Image: emptyImage(t),
		Ignition: []byte(secret), CPUs: 1, MemoryMiB: 256, DiskBytes: 64 << 20,
	}
	m := l.machine(node.Name)

	started, err := l.Start(ctx, node)
	require.NoError(t, err)
	assert.True(t, started)
	assert.Equal(t, "on", powerOf(t, l, node))
	started, err = l.Start(ctx, node)
	require.NoError(t, err)
	assert.False(t, started, "a machine that is on is left alone")

	pid := pidOf(t, m)
	running, err := qmpRunning(ctx, pid)
	require.NoError(t, err)
	assert.True(t, running)
	assertNoSecret(t, l.Dir, pid)

	// The firmware says that there is nothing to boot, and up fails at once.
	nothing := func(notes ...string) []string {
		t.Helper()
		var events, noted []string
		err := l.Up(ctx, []Node{node}, UpOptions{
			Event: func(node string, e Event) { events = append(events, node+" "+e.Text) },
			Note:  func(text string) { noted = append(noted, text) },
		})
		require.ErrorContains(t, err, "master-1 has stopped: the firmware finds nothing to boot on the disk")
		assert.Subset(t, []string{"master-1 stop: the firmware finds nothing to boot on the disk"}, events)
		assert.Equal(t, notes, noted)
		return events
	}
	nothing("master-1 is on already")

	was, err := l.Kill(ctx, node.Name)
	require.NoError(t, err)
	assert.True(t, was)
	assert.Equal(t, "off", powerOf(t, l, node))
	assert.Empty(t, commandLine(pid), "QEMU has gone")
	was, err = l.Kill(ctx, node.Name)
	require.NoError(t, err)
	assert.False(t, was)

	// Given back, with the disk that it had; the first boot is no news.
	assert.Len(t, nothing(), 1)
	assert.Equal(t, "on", powerOf(t, l, node))
	console, err := os.ReadFile(filepath.Join(m.dir, consoleFile))
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(string(console), markOn))
	assert.Contains(t, string(console), markOff+"the power was cut")

	// Another image under the same disk is refused, a fresh disk is not.
	_, err = l.Kill(ctx, node.Name)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(node.Image, 16<<20))
	_, err = l.Start(ctx, node)
	require.ErrorContains(t, err, "imgbuild lab reimage master-1")
	require.NoError(t, l.Reimage(ctx, node))
	assert.Equal(t, "on", powerOf(t, l, node))

	pid = pidOf(t, m)
	require.NoError(t, l.Down(ctx))
	assertNothingLeft(t, l, pid)
}

// What a start that fails has made is gone with it.
func TestFailedStartLeavesNothing(t *testing.T) {
	l := newLab(t)
	node := Node{Name: "master-1", MAC: "52:54:00:77:00:11", Image: emptyImage(t), CPUs: -1, MemoryMiB: 256}
	_, err := l.Start(t.Context(), node)
	require.ErrorContains(t, err, "start master-1: ")
	require.ErrorContains(t, err, "Invalid SMP CPUs")
	assertNothingLeft(t, l, 0)

	node.Image += ".no"
	_, err = l.Start(t.Context(), node)
	require.ErrorIs(t, err, fs.ErrNotExist)
	assertNothingLeft(t, l, 0)
}

// A number that is used again by another process is not killed.
func TestForeignProcessIsNotOurs(t *testing.T) {
	l := newLab(t)
	m := l.machine("master-1")
	require.NoError(t, os.MkdirAll(m.dir, 0o700))
	for _, file := range []string{qemuPID, supervisorPID} {
		require.NoError(t, writePID(m.dir, file, os.Getpid()))
	}
	was, err := l.Kill(t.Context(), "master-1")
	require.NoError(t, err)
	assert.False(t, was)
}

func powerOf(t *testing.T, l *Lab, n Node) string {
	t.Helper()
	status, err := l.Status([]Node{n})
	require.NoError(t, err)
	return status.Nodes[0].Power
}

func pidOf(t *testing.T, m machine) int {
	t.Helper()
	p := m.process(qemuPID, m.isQEMU)
	require.NotNil(t, p)
	defer p.Release()
	return p.Pid
}

// assertNoSecret looks for the Ignition config where it must not be.
func assertNoSecret(t *testing.T, dir string, pid int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		assert.NotContains(t, string(text), "a secret", path)
		return err
	}))
	assert.NotContains(t, strings.Join(commandLine(pid), " "), "a secret")
}

func assertNothingLeft(t *testing.T, l *Lab, pid int) {
	t.Helper()
	assert.NoDirExists(t, l.Dir)
	assert.False(t, l.network().exists(), "network namespace")
	if pid > 0 {
		assert.Empty(t, commandLine(pid))
	}
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range all {
		text, _ := os.ReadFile(file)
		assert.NotContains(t, string(text), l.Dir, file)
		assert.NotContains(t, string(text), "imgbuild/"+l.Name+"/", file)
	}
}
