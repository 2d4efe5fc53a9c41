package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"imgbuild/builder/packages"
	"imgbuild/builder/sandbox"
)

// bootstrap makes a Debian tree in the empty dir, in the three steps that
// debootstrap and mmdebstrap use: unpack the files of the essential packages so
// that maintainer scripts can run at all, install those, then all others.
func (m Maker) bootstrap(ctx context.Context, dir string, pkgs []packages.Package) error {
	var essential, rest []packages.Package
	for _, p := range pkgs {
		if p.Essential {
			essential = append(essential, p)
		} else {
			rest = append(rest, p)
		}
	}
	if err := m.extract(ctx, dir, essential); err != nil {
		return err
	}
	for _, d := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return fmt.Errorf("make dpkg database: %w", err)
		}
	}
	for name, content := range map[string]string{
		"var/lib/dpkg/status": "", "var/lib/dpkg/available": "",
		"etc/machine-id": "uninitialized\n",
		// Debian's installer writes it, no package does, and the kubelet reads it.
		"etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
	} {
		if err := writeFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	debs, done, err := m.collect(pkgs)
	if err != nil {
		return err
	}
	defer done()
	spec := m.sandbox([]string{dir})
	spec.InPlace = true
	for _, step := range []struct {
		pkgs   []packages.Package
		action []string
	}{
		{essential, []string{"--install", "--force-depends"}},
		{rest, []string{"--unpack", "--force-depends"}},
		{nil, []string{"--configure", "--pending", "--force-depends"}},
	} {
		if err := m.dpkg(ctx, spec, dir, debs, step.pkgs, step.action...); err != nil {
			return err
		}
	}
	return nil
}

// extract unpacks the files of packages. base-files comes first: it holds the
// links /bin, /lib and /sbin that others' paths go through.
func (m Maker) extract(ctx context.Context, dir string, pkgs []packages.Package) error {
	first := slices.IndexFunc(pkgs, func(p packages.Package) bool { return p.Name == "base-files" })
	if first < 0 {
		return errors.New("package base-files is not among those of the base")
	}
	if err := m.extractOne(ctx, dir, pkgs[first]); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for i, p := range pkgs {
		if i != first {
			g.Go(func() error { return m.extractOne(ctx, dir, p) })
		}
	}
	return g.Wait()
}

func (m Maker) extractOne(ctx context.Context, dir string, p packages.Package) error {
	out, err := dpkgDeb(ctx, dir, "--extract", packages.File(m.Cache, p), dir).CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("unpack package %s: %w: %s", p.Name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// dpkgDeb is the host's program on behalf of the tree in dir. What it leaves
// where it is killed is beside the tree, in the same scratch directory.
func dpkgDeb(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := sandbox.Command(ctx, "dpkg-deb", args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Dir(dir))
	return cmd
}
