package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"imgbuild/builder"
	"imgbuild/cluster"
)

// world is the folder that everything is measured in: a cluster.yaml with its
// lock, and caches of its own.
type world struct {
	dir string
	// program is bin/imgbuild.
	program string
	// machine is the machine's own cache: what is slow to make comes from there.
	machine string
	// node is the only one of the cluster, a master.
	node string
	plan builder.Plan
	// cached is a cache with all that the plan needs; empty until needed.
	cached string
	began  time.Time
}

// newWorld makes the folder beside the machine's cache, on its file system, and
// sees to it that the components are in that cache. done removes the folder.
func newWorld(ctx context.Context, file string) (*world, func(), error) {
	program, err := filepath.Abs("bin/imgbuild")
	if err != nil {
		return nil, nil, err
	}
	if _, err := os.Stat(program); err != nil {
		return nil, nil, fmt.Errorf("%w: run make bench in imgbuild's own folder", err)
	}
	w := &world{program: program, machine: os.Getenv("IMGBUILD_CACHE"), began: time.Now()}
	if w.machine == "" {
		w.machine = "/var/cache/imgbuild"
	}
	if err := os.MkdirAll(w.machine, 0o755); err != nil {
		return nil, nil, err
	}
	if w.dir, err = os.MkdirTemp(w.machine, "bench-"); err != nil {
		return nil, nil, err
	}
	done := func() {
		w.say("clean up")
		if err := os.RemoveAll(w.dir); err != nil {
			w.say("left behind: %v", err)
		}
	}
	if err := w.prepare(ctx, file); err != nil {
		done()
		return nil, nil, err
	}
	return w, done, nil
}

func (w *world) prepare(ctx context.Context, file string) error {
	// apt works as another user.
	if err := os.Chmod(w.dir, 0o755); err != nil {
		return err
	}
	if err := w.writeCluster(ctx, file); err != nil {
		return err
	}
	w.say("build once with the machine's own cache: components are not measured")
	for _, args := range [][]string{{"lock"}, {"role", "master", "--out", w.path("first")}} {
		if _, err := w.imgbuild(ctx, w.machine, args...); err != nil {
			return err
		}
	}
	out, err := w.imgbuild(ctx, w.machine, "role", "master", "--plan")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, &w.plan); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	return os.RemoveAll(w.path("first"))
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) say(format string, v ...any) {
	fmt.Fprintf(os.Stderr, "bench: +%s %s\n", time.Since(w.began).Round(time.Second), fmt.Sprintf(format, v...))
}

// nameLine is the cluster's name in cluster.yaml.
var nameLine = regexp.MustCompile(`(?m)^name:.*$`)

// writeCluster writes the cluster.yaml under a name that no other lab has.
func (w *world) writeCluster(ctx context.Context, file string) error {
	var text []byte
	var err error
	if file != "" {
		text, err = os.ReadFile(file)
	} else {
		text, err = w.imgbuild(ctx, w.machine, "init", "--topology", "single")
	}
	if err != nil {
		return err
	}
	text = nameLine.ReplaceAll(text, fmt.Appendf(nil, "name: bench-%d", os.Getpid()))
	if err := os.WriteFile(w.path("cluster.yaml"), text, 0o644); err != nil {
		return err
	}
	c, problems := cluster.Load(w.path("cluster.yaml"))
	if err := problems.Err(); err != nil {
		return err
	}
	if len(c.Nodes) != 1 || c.Nodes[0].Role != "master" {
		return errors.New("bench measures a cluster of one master: give a cluster.yaml of topology single")
	}
	w.node = c.Nodes[0].Name
	return nil
}

// command is imgbuild on the world's cluster.yaml.
func (w *world) command(ctx context.Context, cache string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, w.program, append([]string{"-c", w.path("cluster.yaml"), "--cache", cache}, args...)...)
	cmd.Env = append(os.Environ(), "IMGBUILD_AGE_IDENTITY="+w.path("identity.txt"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	ownGroup(cmd)
	return cmd
}

// imgbuild runs it and gives its standard output.
func (w *world) imgbuild(ctx context.Context, cache string, args ...string) ([]byte, error) {
	cmd := w.command(ctx, cache, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("imgbuild %s: %w: %s", args[0], err, lastLines(stderr.String(), 10))
	}
	return stdout.Bytes(), nil
}

// timed measures one imgbuild.
func (w *world) timed(ctx context.Context, cache string, args ...string) (cost, error) {
	return measure(ctx, w.command(ctx, cache, args...), w.dir)
}

// freshCache makes an empty cache with the machine's components, and its
// fetched packages where wanted. Files are linked, not copied.
func (w *world) freshCache(debs bool) (string, error) {
	dir, err := os.MkdirTemp(w.dir, "cache-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	if err := linkTree(filepath.Join(w.machine, "components"), filepath.Join(dir, "components")); err != nil {
		return "", err
	}
	if !debs {
		return dir, nil
	}
	p := w.plan.Packages
	seen := map[string]bool{}
	for _, pkg := range slices.Concat(p.Base, p.Role, p.Boot, p.Tools) {
		// Trees have packages in common.
		if seen[pkg.SHA256] {
			continue
		}
		seen[pkg.SHA256] = true
		entry := filepath.Join("debs", pkg.SHA256)
		if err := linkTree(filepath.Join(w.machine, entry), filepath.Join(dir, entry)); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// warmCache is a cache that a build has filled: made once.
func (w *world) warmCache() (string, error) {
	if w.cached != "" {
		return w.cached, nil
	}
	var err error
	w.cached, err = w.freshCache(true)
	return w.cached, err
}

// linkTree makes the folders below from anew, with hard links to its files.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		return os.Link(p, filepath.Join(to, rel))
	})
}
