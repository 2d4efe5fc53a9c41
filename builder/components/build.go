package components

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"imgbuild/builder/cache"
)

// Builder makes components. Its fields are set once. Build one component at a
// time: a compilation uses the whole machine already.
type Builder struct {
	Cache cache.Cache
	// Compiler makes the tree that C is compiled in, and gives its directory. It
	// is asked only where the cache lacks a component that holds C. Those are kept
	// under both their inputs and CompilerKey, which changes with its packages.
	Compiler    func(context.Context) (string, error)
	CompilerKey string
	// Offline forbids fetching modules.
	Offline bool
	// Jobs is how many compilers run at a time. The default, at most 2, keeps a
	// build below 2 GiB of memory.
	Jobs int
	// Log gets a line per step, and one every half minute of a long one.
	Log *slog.Logger
}

// Build returns the directory of the component: its programs are in bin/, and
// what component.yaml copies is beside that. It is in the cache afterwards and
// must not be changed. A component that is not what this imgbuild would make
// is an error, and so is another Go release than the pinned one.
func (b Builder) Build(ctx context.Context, c Component) (string, error) {
	s, err := verify(c)
	if err != nil {
		return "", err
	}
	dir, _, err := b.Cache.Dir(ctx, "components/"+c.Name, b.key(s, c), func(ctx context.Context, dir string) error {
		return b.compile(ctx, s, c, dir)
	})
	if err != nil {
		return "", fmt.Errorf("component %s: %w", c.Name, err)
	}
	return dir, nil
}

// Check is an error where c is not what this imgbuild would make: Build would
// refuse it, too.
func Check(c Component) error {
	_, err := verify(c)
	return err
}

// verify checks that c is what this imgbuild makes under that name.
func verify(c Component) (Spec, error) {
	s, err := Find(c.Name)
	if err != nil {
		return Spec{}, err
	}
	if c.Source != SourceModules {
		return Spec{}, fmt.Errorf("component %s: imgbuild.lock has source %q, this imgbuild makes %q only: run imgbuild lock", c.Name, c.Source, SourceModules)
	}
	if c.Go == "" {
		return Spec{}, fmt.Errorf("component %s: imgbuild.lock names no Go release: run imgbuild lock", c.Name)
	}
	want, err := Resolve(c.Name, c.Go)
	if err != nil {
		return Spec{}, err
	}
	if c.Version != want.Version {
		return Spec{}, fmt.Errorf("component %s: imgbuild.lock has version %s, this imgbuild has %s: run imgbuild lock", c.Name, c.Version, want.Version)
	}
	if c.Inputs != want.Inputs {
		return Spec{}, fmt.Errorf("component %s: imgbuild.lock has inputs %.12s…, this imgbuild has %.12s…: run imgbuild lock", c.Name, c.Inputs, want.Inputs)
	}
	return s, nil
}

// compile makes the component in dir.
func (b Builder) compile(ctx context.Context, s Spec, c Component, dir string) error {
	w, done, err := b.newWorkspace(s)
	if err != nil {
		return err
	}
	defer done()
	if s.NeedsCompiler() {
		if w.compiler, err = b.compilerTree(ctx); err != nil {
			return err
		}
	}
	w.go_, err = readToolchain(ctx)
	if err != nil {
		return err
	}
	if w.go_.version != c.Go {
		return fmt.Errorf("imgbuild.lock wants %s to compile it, this host has %s: install that release of Go or run imgbuild lock", c.Go, w.go_.version)
	}
	if err := w.fetch(ctx); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		return err
	}
	if err := w.buildPrograms(ctx, dir); err != nil {
		return err
	}
	if err := w.takeFromModule(ctx, dir); err != nil {
		return err
	}
	return checkOutputs(s, dir)
}

func (b Builder) compilerTree(ctx context.Context) (string, error) {
	if b.Compiler == nil {
		return "", errors.New("it holds C, and there is no tree to compile that in")
	}
	dir, err := b.Compiler(ctx)
	if err != nil {
		return "", fmt.Errorf("make the compiler's tree: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "usr/bin/gcc")); err != nil {
		return "", fmt.Errorf("the compiler's tree has no C compiler: %w: the base's compiler packages must hold gcc, libc6-dev, libblkid-dev and pkg-config", err)
	}
	return dir, nil
}

// checkOutputs makes every program executable for all and misses none.
func checkOutputs(s Spec, dir string) error {
	for _, name := range s.Outputs() {
		if err := os.Chmod(filepath.Join(dir, "bin", name), 0o755); err != nil {
			return fmt.Errorf("program %s was not made: %w", name, err)
		}
	}
	return nil
}

func (b Builder) jobs() int {
	if b.Jobs > 0 {
		return b.Jobs
	}
	return min(runtime.NumCPU(), 2)
}

// key is where the cache keeps the component.
func (b Builder) key(s Spec, c Component) string {
	if !s.NeedsCompiler() {
		return c.Inputs
	}
	return cache.Key(c.Inputs, b.CompilerKey)
}

func (b Builder) say(name, step string, since time.Time, done bool) {
	if b.Log == nil {
		return
	}
	message := "still working on component"
	if done {
		message = "component step done"
	}
	b.Log.Info(message, "component", name, "step", step, "seconds", int(time.Since(since).Seconds()))
}

// during runs f and says every half minute that it still does.
func (b Builder) during(name, step string, f func() error) error {
	start, stop := time.Now(), make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(30 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				b.say(name, step, start, false)
			}
		}
	}()
	err := f()
	close(stop)
	<-ended
	if err == nil {
		b.say(name, step, start, true)
	}
	return err
}
