package components

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"imgbuild/builder/cache"
)

// Builder compiles components. The go command's own settings say where modules
// come from; the checksum database verifies them.
type Builder struct {
	Cache cache.Cache
	// Offline forbids the go command to fetch modules.
	Offline bool
	Log     *slog.Logger
}

// GoVersion is the release of the go command in use, for example "go1.26.8".
func GoVersion(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOVERSION: %w: install Go and have it on PATH", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Build returns the cache directory of a component, with its programs in bin/.
// It refuses a component that this imgbuild would make differently.
func (b Builder) Build(ctx context.Context, c Component) (string, error) {
	version, err := GoVersion(ctx)
	if err != nil {
		return "", err
	}
	now, err := Resolve(c.Name, version)
	if err != nil {
		return "", err
	}
	if now != c {
		return "", fmt.Errorf("component %s: imgbuild.lock has %s with inputs %.12s, this imgbuild makes %s with inputs %.12s: run imgbuild lock",
			c.Name, c.Version, c.Inputs, now.Version, now.Inputs)
	}
	dir, _, err := b.Cache.Dir(ctx, "components", c.Inputs, func(ctx context.Context, dir string) error {
		return b.compile(ctx, c.Name, dir)
	})
	if err != nil {
		return "", fmt.Errorf("component %s: %w", c.Name, err)
	}
	return dir, nil
}

func (b Builder) compile(ctx context.Context, name, out string) error {
	s, err := load(name)
	if err != nil {
		return err
	}
	source, done, err := b.Cache.Scratch("component")
	if err != nil {
		return err
	}
	defer done()
	if err := unpack(name, source); err != nil {
		return err
	}
	for _, program := range slices.Sorted(maps.Keys(s.Programs)) {
		start := time.Now()
		if err := b.goBuild(ctx, source, s, program, filepath.Join(out, "bin", program)); err != nil {
			return err
		}
		b.Log.Info("compiled", "component", name, "program", program, "seconds", int(time.Since(start).Seconds()))
	}
	return nil
}

// unpack writes a component's folder to dir, as the go command wants it.
func unpack(name, dir string) error {
	list, err := files(name)
	if err != nil {
		return err
	}
	for _, f := range list {
		data, err := folders.ReadFile(name + "/" + f)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, moduleName(f)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// goBuild compiles one program: static, and with no path of this machine in it.
func (b Builder) goBuild(ctx context.Context, source string, s Spec, program, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", strings.TrimSpace("-s -w "+s.LDFlags), "-o", out, s.Programs[program])
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off",
		"GOTOOLCHAIN=local", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1")
	if b.Offline {
		cmd.Env = append(cmd.Env, "GOPROXY=off")
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	// The compiler's processes go with the go command.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("go build %s: %w", program, ctx.Err())
	case err != nil && b.Offline && strings.Contains(stderr.String(), "GOPROXY=off"):
		return fmt.Errorf("go build %s: its modules are not on this machine: run once without --offline", program)
	case err != nil:
		return fmt.Errorf("go build %s: %w: %s", program, err, tail(stderr.String()))
	}
	if _, err := os.Stat(out); err != nil {
		return errors.New("go build " + program + ": made no file")
	}
	return nil
}

// tail is the end of a compiler's output.
func tail(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 1000 {
		s = "…" + s[len(s)-1000:]
	}
	return s
}
