package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// world is a folder with a cluster.yaml, the programs, and a lab of one master.
type world struct {
	t      *testing.T
	dir    string
	images string
	cache  string
	name   string
}

const node = "master-1"

// TestMain keeps the image that all tests share.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "imgbuild-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shared.dir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// shared is made by the first test that needs it.
var shared struct {
	dir  string
	once sync.Once
	err  error
}

// buildPrograms puts imgbuild and the agent into the world's folder.
func (w *world) buildPrograms() error {
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", w.dir+"/", "../cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// makeShared builds the programs and the image with the probe. The cache is the
// machine's own: components are compiled once.
func makeShared(w *world) error {
	if err := w.buildPrograms(); err != nil {
		return err
	}
	yaml, err := w.run(context.Background(), "init", "--topology", "single")
	if err != nil {
		return err
	}
	yaml = strings.Replace(yaml, "name: demo", "name: "+w.name, 1)
	if err := os.WriteFile(filepath.Join(w.dir, "cluster.yaml"), []byte(yaml), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"lock", "--roles", "roles"},
		{"role", "master", "--roles", "roles", "--out", w.images},
	} {
		if _, err := w.run(context.Background(), args...); err != nil {
			return err
		}
	}
	return nil
}

// newWorld is a lab of one master, down when the test ends.
func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Getenv("IMGBUILD_TEST_ROOT") == "" {
		t.Skip("builds and boots an image: set IMGBUILD_TEST_ROOT=1")
	}
	w := inFolder(t, shared.dir, "test")
	shared.once.Do(func() { shared.err = makeShared(w) })
	require.NoError(t, shared.err)
	w.downAtEnd(node)
	return w
}

// inFolder is a world whose cluster has a name of its own on this host.
func inFolder(t *testing.T, dir, name string) *world {
	w := &world{t: t, dir: dir, images: filepath.Join(dir, "images"), name: fmt.Sprintf("%s-%d", name, os.Getpid()), cache: os.Getenv("IMGBUILD_CACHE")}
	if w.cache == "" {
		w.cache = "/var/cache/imgbuild"
	}
	return w
}

// downAtEnd ends the lab with the test, and shows what machines said last where
// the test has failed.
func (w *world) downAtEnd(machines ...string) {
	w.t.Cleanup(func() {
		if w.t.Failed() {
			for _, name := range machines {
				w.t.Logf("the end of the console of %s:\n%s", name, tail(w.consoleOf(name), 60))
			}
		}
		_, err := w.run(context.Background(), "lab", "down")
		require.NoError(w.t, err)
	})
}

// run runs imgbuild on the world's cluster.yaml; the error holds what it said.
func (w *world) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(w.dir, "imgbuild"), append([]string{"-c", filepath.Join(w.dir, "cluster.yaml")}, args...)...)
	cmd.Env = append(os.Environ(), "IMGBUILD_AGE_IDENTITY="+filepath.Join(w.dir, "identity.txt"))
	// As Ctrl-C does.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("imgbuild %s: %w: %s", strings.Join(args, " "), err, tail(stderr.String(), 10))
	}
	return stdout.String(), nil
}

func (w *world) must(args ...string) string {
	w.t.Helper()
	out, err := w.run(w.t.Context(), args...)
	require.NoError(w.t, err)
	return out
}

// up gives the machine its power and returns when it is ready.
func (w *world) up(images string) {
	w.t.Helper()
	w.must("lab", "up", "--images", images, "--timeout", "20m")
}

// clusterID is what no two clusters share.
func (w *world) clusterID() string {
	w.t.Helper()
	id := w.must("lab", "kubectl", "--", "get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
	require.NotEmpty(w.t, id)
	return id
}

// console is what the machine has said since its disk is new.
func (w *world) console() string { return w.consoleOf(node) }

func (w *world) consoleOf(machine string) string {
	data, _ := os.ReadFile(filepath.Join(w.cache, "lab", w.name, machine, "console.log"))
	return string(data)
}

// await waits for a line of the console after the given offset and returns it
// and where it ends.
func (w *world) await(from int, pattern string, limit time.Duration) (string, int) {
	w.t.Helper()
	return w.awaitOf(node, from, pattern, limit)
}

func (w *world) awaitOf(machine string, from int, pattern string, limit time.Duration) (string, int) {
	w.t.Helper()
	want := regexp.MustCompile(pattern)
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) {
		all := w.consoleOf(machine)
		if from <= len(all) {
			if at := want.FindStringIndex(all[from:]); at != nil {
				return all[from+at[0] : from+at[1]], from + at[1]
			}
		}
		select {
		case <-w.t.Context().Done():
			w.t.Fatal("interrupted")
		case <-time.After(50 * time.Millisecond):
		}
	}
	w.t.Fatalf("the console of %s does not say %q within %s", machine, pattern, limit)
	return "", 0
}

// status is `imgbuild lab status`.
type status struct {
	Nodes []struct {
		Name    string
		Phase   string
		Ready   bool
		Seconds map[string]*float64
	}
	ServiceTest struct {
		Passed bool
		Checks []struct {
			Name   string
			Passed bool
		}
	}
}

func (w *world) status() status {
	w.t.Helper()
	var s status
	require.NoError(w.t, json.Unmarshal([]byte(w.must("lab", "status", "-o", "json")), &s))
	return s
}

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
