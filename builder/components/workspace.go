package components

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// workspace is a scratch directory in which one component is compiled: src/ is
// its module, tmp/ the compiler's temporary files, out/ its programs.
type workspace struct {
	Builder
	spec Spec
	go_  toolchain
	dir  string
	// compiler is the tree that C is compiled in, where there is any.
	compiler string
}

// newWorkspace writes the embedded module under the names that Go wants.
func (b Builder) newWorkspace(s Spec) (w workspace, done func(), err error) {
	dir, done, err := b.Cache.Scratch("components")
	if err != nil {
		return workspace{}, nil, err
	}
	w = workspace{Builder: b, spec: s, dir: dir}
	if err := w.write(); err != nil {
		done()
		return workspace{}, nil, err
	}
	return w, done, nil
}

func (w workspace) write() error {
	for _, d := range []string{w.src(), w.tmp(), w.out()} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	rename := map[string]string{"module.mod": "go.mod", "module.sum": "go.sum"}
	return fs.WalkDir(embedded, w.spec.Name, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := embedded.ReadFile(p)
		if err != nil {
			return err
		}
		name := path.Base(p)
		if as, ok := rename[name]; ok {
			name = as
		}
		return os.WriteFile(filepath.Join(w.src(), name), data, 0o644)
	})
}

func (w workspace) src() string { return filepath.Join(w.dir, "src") }
func (w workspace) tmp() string { return filepath.Join(w.dir, "tmp") }
func (w workspace) out() string { return filepath.Join(w.dir, "out") }

// fetch brings every module that the programs need into Go's module cache,
// checked against module.sum. Nothing else uses the network.
func (w workspace) fetch(ctx context.Context) error {
	err := w.during(w.spec.Name, "modules", func() error {
		for _, cgo := range []bool{false, true} {
			if packages := w.packages(cgo); len(packages) > 0 {
				argv := append([]string{"go", "list", "-deps"}, packages...)
				if _, err := run(ctx, w.src(), w.env(cgo), argv...); err != nil {
					return err
				}
			}
		}
		if w.spec.Module == "" {
			return nil
		}
		_, err := w.moduleDir(ctx)
		return err
	})
	if err != nil && w.Offline && ctx.Err() == nil {
		return fmt.Errorf("modules are missing in Go's module cache and offline forbids fetching them: build once without it: %w", err)
	}
	return err
}

// moduleDir is where Go keeps the component's module.
func (w workspace) moduleDir(ctx context.Context) (string, error) {
	out, err := run(ctx, w.src(), w.env(false), "go", "mod", "download", "-json", w.spec.Module)
	if err != nil {
		// Go says why in the JSON.
		return "", fmt.Errorf("module %s: %w%s", w.spec.Module, err, out)
	}
	var m struct{ Dir string }
	if err := json.Unmarshal([]byte(out), &m); err != nil || m.Dir == "" {
		return "", fmt.Errorf("module %s: go mod download gave no directory", w.spec.Module)
	}
	return m.Dir, nil
}

func (w workspace) env(cgo bool) []string {
	enabled := "CGO_ENABLED=0"
	if cgo {
		enabled = "CGO_ENABLED=1"
	}
	return append(w.go_.hostEnv(w.Offline, w.tmp()), enabled)
}

func (w workspace) packages(cgo bool) []string {
	var list []string
	for _, p := range w.spec.Programs {
		if p.Cgo == cgo {
			list = append(list, p.Package)
		}
	}
	return list
}

var majorElement = regexp.MustCompile(`^v[0-9]+$`)

// binaryName is how `go build` names the program of a package: `go help build`.
func binaryName(pkg string) string {
	name := path.Base(pkg)
	if majorElement.MatchString(name) {
		name = path.Base(path.Dir(pkg))
	}
	return strings.TrimSuffix(name, ".go")
}
