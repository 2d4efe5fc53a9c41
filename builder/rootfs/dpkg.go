package rootfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"imgbuild/builder/packages"
	"imgbuild/builder/sandbox"
)

// unwanted are dpkg's options for what no image holds: manuals and
// translations. Copyright files stay, the licences ask for them (dpkg(1)).
var unwanted = []string{
	"--path-exclude=/usr/share/doc/*", "--path-include=/usr/share/doc/*/copyright",
	"--path-exclude=/usr/share/man/*", "--path-exclude=/usr/share/info/*",
	"--path-exclude=/usr/share/locale/*", "--path-exclude=/usr/share/lintian/*",
}

// collect links the files of pkgs into one directory, so that a sandbox needs
// one mount for all of them.
func (m Maker) collect(pkgs []packages.Package) (dir string, done func(), err error) {
	dir, done, err = m.Cache.Scratch("debs")
	if err != nil {
		return "", nil, err
	}
	for _, p := range pkgs {
		file := packages.File(m.Cache, p)
		if err := os.Link(file, filepath.Join(dir, filepath.Base(file))); err != nil {
			done()
			return "", nil, fmt.Errorf("package %s is not in the cache: %w", p.Name, err)
		}
	}
	return dir, done, nil
}

// dpkg runs one action of dpkg on pkgs, whose files are in debs. The tree is
// spec's; top is the directory that it writes to.
func (m Maker) dpkg(ctx context.Context, spec sandbox.Spec, top, debs string, pkgs []packages.Package, action ...string) error {
	// No service starts while packages are installed (invoke-rc.d(8)); without
	// systemd running, Debian's scripts would fall back to /etc/init.d.
	policy := filepath.Join(top, "usr/sbin/policy-rc.d")
	if err := writeFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
		return err
	}
	defer os.Remove(policy)
	spec.Argv = append([]string{"dpkg", "--force-unsafe-io", "--force-confold"}, unwanted...)
	spec.Argv = append(spec.Argv, action...)
	for _, p := range pkgs {
		spec.Argv = append(spec.Argv, "/mnt/debs/"+filepath.Base(packages.File(m.Cache, p)))
	}
	spec.Mounts = []sandbox.Mount{{From: []string{debs}, To: "/mnt/debs", ReadOnly: true}}
	return sandbox.Run(ctx, spec)
}

// writeFile writes a file of a layer with its directories.
func writeFile(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}
