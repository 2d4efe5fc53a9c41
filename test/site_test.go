package test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// site is a folder to build in: the world's cluster.yaml and lock, and a cache
// and an output folder of its own.
type site struct {
	t                    *testing.T
	w                    *world
	program              string
	dir, cache, out, tmp string
	// env replaces variables of the environment.
	env []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	w := newWorld(t)
	// Beside the machine's cache: links do not reach another file system.
	cache, err := os.MkdirTemp(w.cache, "test-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(cache)) })
	s := &site{
		t: t, w: w, program: filepath.Join(w.dir, "imgbuild"), dir: t.TempDir(), tmp: t.TempDir(),
		cache: cache, out: filepath.Join(t.TempDir(), "out"),
	}
	for _, name := range []string{"cluster.yaml", "imgbuild.lock"} {
		s.write(name, func([]byte) []byte {
			data, err := os.ReadFile(filepath.Join(w.dir, name))
			require.NoError(t, err)
			return data
		})
	}
	return s
}

// write changes a file of the site.
func (s *site) write(name string, change func([]byte) []byte) {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	require.NoError(s.t, os.WriteFile(file, change(data), 0o644))
}

// read is the text of a file of the site.
func (s *site) read(name string) string {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	require.NoError(s.t, err)
	return string(data)
}

// link takes what patterns below the machine's cache name.
func (s *site) link(patterns ...string) {
	s.t.Helper()
	machine := filepath.Dir(s.cache)
	for _, pattern := range patterns {
		entries, err := filepath.Glob(filepath.Join(machine, pattern))
		require.NoError(s.t, err)
		require.NotEmpty(s.t, entries, "the machine's cache has no %s", pattern)
		for _, from := range entries {
			to := filepath.Join(s.cache, strings.TrimPrefix(from, machine))
			require.NoError(s.t, os.MkdirAll(filepath.Dir(to), 0o755))
			require.NoError(s.t, os.Symlink(from, to))
		}
	}
}

// unlink takes it away again.
func (s *site) unlink(pattern string) {
	s.t.Helper()
	entries, err := filepath.Glob(filepath.Join(s.cache, pattern))
	require.NoError(s.t, err)
	require.NotEmpty(s.t, entries, "there is no %s", pattern)
	for _, entry := range entries {
		require.NoError(s.t, os.Remove(entry))
	}
}

// process is a run of imgbuild.
type process struct {
	s     *site
	cmd   *exec.Cmd
	began time.Time
	lines chan string
	said  *bytes.Buffer
}

// start runs imgbuild as a shell does: in a session of its own, so that its
// processes can be told from others.
func (s *site) start(args ...string) *process {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), s.program, append([]string{"-c", filepath.Join(s.dir, "cluster.yaml"), "--cache", s.cache}, args...)...)
	cmd.Env = append(append(os.Environ(), "TMPDIR="+s.tmp), s.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	p := &process{s: s, cmd: cmd, began: time.Now(), lines: make(chan string, 1000), said: &bytes.Buffer{}}
	reader, writer, err := os.Pipe()
	require.NoError(s.t, err)
	cmd.Stderr = writer
	cmd.Stdout = io.Discard
	require.NoError(s.t, cmd.Start())
	writer.Close()
	go func() {
		defer reader.Close()
		defer close(p.lines)
		for scanner := bufio.NewScanner(reader); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
	}()
	return p
}

// build is imgbuild role master.
func (s *site) build(args ...string) *process {
	s.t.Helper()
	return s.start(append([]string{"role", "master", "--roles", "roles", "--out", s.out}, args...)...)
}

// await returns when the build has begun the step.
func (p *process) await(step string) {
	p.s.t.Helper()
	for line := range p.lines {
		p.said.WriteString(line + "\n")
		if strings.Contains(line, "] master: "+step+" (") {
			return
		}
	}
	p.s.t.Fatalf("the build ended before the step %s: %s", step, p.said)
}

// awaitProgram returns when the build runs a program of that name.
func (p *process) awaitProgram(name string) {
	p.s.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if slices.Contains(p.session(), name) {
			return
		}
	}
	p.s.t.Fatalf("the build does not run %s", name)
}

// end waits until imgbuild has ended and gives its exit code and what it said.
func (p *process) end() (int, string) {
	for line := range p.lines {
		p.said.WriteString(line + "\n")
	}
	err := p.cmd.Wait()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		p.s.t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode(), p.said.String()
}

// fails wants exit code 1 and an error, which it returns.
func (p *process) fails() string {
	p.s.t.Helper()
	code, said := p.end()
	require.Equal(p.s.t, 1, code, said)
	at := strings.LastIndex(said, "\nimgbuild: ")
	if strings.HasPrefix(said, "imgbuild: ") && at < 0 {
		at = 0
	}
	require.GreaterOrEqual(p.s.t, at, 0, "no error in %s", said)
	assert.NotContains(p.s.t, said, "goroutine")
	return strings.TrimSpace(said[at:])
}

func (p *process) succeeds() string {
	p.s.t.Helper()
	code, said := p.end()
	require.Zero(p.s.t, code, said)
	return said
}

// session are the names of the living processes that imgbuild has started, it
// included.
func (p *process) session() []string {
	var names []string
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// proc_pid_stat(5): PID (NAME) STATE PPID PGRP SESSION …
		open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
		f := strings.Fields(string(data[end+1:]))
		if f[3] == strconv.Itoa(p.cmd.Process.Pid) && f[0] != "Z" {
			names = append(names, string(data[open+1:end]))
		}
	}
	return names
}

// leavesNothing wants no process, no mount in any namespace and no half-made
// file of the build.
func (p *process) leavesNothing() {
	p.s.t.Helper()
	// The kernel ends what was in a sandbox soon after its first process.
	require.Eventually(p.s.t, func() bool { return len(p.session()) == 0 && len(p.s.mounts()) == 0 }, 5*time.Second, 10*time.Millisecond,
		"processes %v, mounts %v", p.session(), p.s.mounts())
	assert.Empty(p.s.t, names(p.s.t, filepath.Join(p.s.cache, "scratch")))
	assert.Empty(p.s.t, names(p.s.t, p.s.tmp))
	for _, name := range names(p.s.t, p.s.out) {
		assert.NotContains(p.s.t, name, ".part")
	}
}

// mounts are those of folders of the site in the namespace of any process, and
// those of any sandbox in the test's own.
func (s *site) mounts() []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/mountinfo")
	for _, file := range append(files, "/proc/self/mountinfo") {
		data, _ := os.ReadFile(file) // it may have ended
		for line := range strings.Lines(string(data)) {
			sandbox := file == "/proc/self/mountinfo" && strings.Contains(line, " /run/imgbuild/")
			if sandbox || strings.Contains(line, s.cache+"/") || strings.Contains(line, s.out+"/") {
				found = append(found, file+": "+line)
			}
		}
	}
	return found
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	entries, err := os.ReadDir(dir)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}
