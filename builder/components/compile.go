package components

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"imgbuild/builder/sandbox"
)

// buildPrograms compiles everything into dir/bin.
func (w workspace) buildPrograms(ctx context.Context, dir string) error {
	bin := filepath.Join(dir, "bin")
	for _, group := range w.groups() {
		if err := w.buildGroup(ctx, group); err != nil {
			return err
		}
		for _, p := range group {
			if err := os.Rename(filepath.Join(w.out(), binaryName(p.Package)), filepath.Join(bin, p.Output)); err != nil {
				return err
			}
		}
	}
	for _, c := range w.spec.C {
		if err := w.compileC(ctx, c); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(w.out(), c.Output), filepath.Join(bin, c.Output)); err != nil {
			return err
		}
	}
	return nil
}

// buildGroup compiles, then links. A linker maps all object files of its
// program, close to 2 GiB for Kubernetes', so linkers run one at a time while
// compilers run side by side. `go list -export` is the way to have everything
// compiled and nothing linked.
func (w workspace) buildGroup(ctx context.Context, group []Program) error {
	flags := buildFlags(w.spec, group[0])
	compile := append([]string{"go", "list", "-export", "-p", strconv.Itoa(w.jobs())}, flags...)
	err := w.during(w.spec.Name, "compile "+names(group), func() error { return w.goTool(ctx, compile, group) })
	if err != nil {
		return err
	}
	link := append([]string{"go", "build", "-p", "1"}, flags...)
	return w.during(w.spec.Name, "link "+names(group), func() error { return w.goTool(ctx, link, group) })
}

// goTool runs a go command on the packages of a group, where they belong.
func (w workspace) goTool(ctx context.Context, argv []string, group []Program) error {
	cgo, out := group[0].Cgo, w.out()
	if cgo {
		out = "/mnt/work/out"
	}
	if argv[1] == "build" {
		argv = append(argv, "-o", out+"/")
	}
	argv = append(argv, packagesOf(group)...)
	if cgo {
		return w.goWithC(ctx, argv)
	}
	env := w.env(false)
	if argv[1] == "build" {
		// Costs the linker little time and saves memory.
		env = append(env, "GOGC=30")
	}
	_, err := run(ctx, w.src(), env, argv...)
	return err
}

// groups are the programs that one `go build` makes: those of equal flags.
// Together they share the work on what they all import.
func (w workspace) groups() [][]Program {
	var groups [][]Program
	for _, p := range w.spec.Programs {
		i := slices.IndexFunc(groups, func(g []Program) bool {
			return g[0].Cgo == p.Cgo && slices.Equal(g[0].Tags, p.Tags)
		})
		if i < 0 {
			groups = append(groups, nil)
			i = len(groups) - 1
		}
		groups[i] = append(groups[i], p)
	}
	return groups
}

// goWithC runs a go command in the compiler's tree, without a network.
func (w workspace) goWithC(ctx context.Context, argv []string) error {
	argv[0] = "/mnt/go/bin/go"
	mounts := []sandbox.Mount{
		{From: []string{w.dir}, To: "/mnt/work"},
		{From: []string{w.go_.settings["GOCACHE"]}, To: "/mnt/cache"},
		{From: []string{w.go_.settings["GOMODCACHE"]}, To: "/mnt/mod", ReadOnly: true},
	}
	root, err := w.go_.mounts("/mnt/go")
	if err != nil {
		return err
	}
	return sandbox.Run(ctx, sandbox.Spec{
		Layers: []string{w.compiler},
		Mounts: append(mounts, root...),
		Env: append([]string{
			"GOROOT=/mnt/go", "GOCACHE=/mnt/cache", "GOMODCACHE=/mnt/mod", "GOTMPDIR=/mnt/work/tmp",
			"GOPROXY=off", "CGO_ENABLED=1",
		}, fixedEnv()...),
		Dir: "/mnt/work/src", Argv: argv,
	})
}

// mounts bind what a compilation needs of GOROOT, part by part: in packages of
// distributions, parts of it are links to elsewhere.
func (t toolchain) mounts(to string) ([]sandbox.Mount, error) {
	var list []sandbox.Mount
	for _, part := range []string{"bin", "src", "pkg/include", "pkg/tool", "VERSION", "go.env"} {
		from, err := filepath.EvalSymlinks(filepath.Join(t.root, part))
		if os.IsNotExist(err) && !strings.Contains(part, "/") && part != "bin" && part != "src" {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("GOROOT is not complete: %w", err)
		}
		list = append(list, sandbox.Mount{From: []string{from}, To: to + "/" + part, ReadOnly: true})
	}
	return list, nil
}

// compileC compiles one C file in the compiler's tree.
func (w workspace) compileC(ctx context.Context, c CProgram) error {
	module, err := w.moduleDir(ctx)
	if err != nil {
		return err
	}
	argv := append([]string{"/usr/bin/gcc"}, cFlags()...)
	for _, name := range slices.Sorted(maps.Keys(c.Define)) {
		argv = append(argv, "-D"+name+"="+w.spec.fill(c.Define[name]))
	}
	argv = append(argv, "-o", "/mnt/work/out/"+c.Output, "/mnt/module/"+c.File)
	return w.during(w.spec.Name, "compile "+c.Output, func() error {
		return sandbox.Run(ctx, sandbox.Spec{
			Layers: []string{w.compiler},
			Mounts: []sandbox.Mount{
				{From: []string{w.dir}, To: "/mnt/work"},
				{From: []string{module}, To: "/mnt/module", ReadOnly: true},
			},
			Argv: argv,
		})
	})
}

func packagesOf(group []Program) []string {
	var list []string
	for _, p := range group {
		list = append(list, p.Package)
	}
	return list
}

func names(group []Program) string {
	var list []string
	for _, p := range group {
		list = append(list, p.Output)
	}
	return strings.Join(list, " ")
}
