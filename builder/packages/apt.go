package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"imgbuild/builder/cache"
	"imgbuild/builder/sandbox"
)

// apt runs the host's apt on a package database of our own. How the network is
// reached (proxies, certificates) stays as the host's apt.conf.d has it.
type apt struct {
	// lists is the directory of the package lists, dir that of everything else:
	// what is installed, and what apt makes of it and the lists.
	lists, dir string
	source     Source
	archives   []archive
}

// newApt makes the database in a scratch directory; done removes it. Nothing is
// installed in it.
func newApt(ctx context.Context, c cache.Cache, s Source) (*apt, func(), error) {
	list, err := archives(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	dir, done, err := c.Scratch("apt")
	if err != nil {
		return nil, nil, err
	}
	a := &apt{lists: filepath.Join(dir, "lists"), dir: dir, source: s, archives: list}
	for _, d := range []string{"lists/partial", "archives/partial", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			done()
			return nil, nil, fmt.Errorf("make apt database: %w", err)
		}
	}
	var sources strings.Builder
	for _, ar := range list {
		for _, suite := range ar.suites {
			fmt.Fprintf(&sources, "deb [signed-by=%s] %s %s %s\n", keyring, ar.address, suite, strings.Join(s.Components, " "))
		}
	}
	files := map[string]string{"etc/sources.list": sources.String(), "status": ""}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			done()
			return nil, nil, fmt.Errorf("make apt database: %w", err)
		}
	}
	return a, done, nil
}

// database is another one with the same lists, for another process at the same
// time. What apt has made of the lists it takes over.
func (a *apt) database() (*apt, error) {
	dir, err := os.MkdirTemp(a.dir, "database-")
	if err != nil {
		return nil, fmt.Errorf("make apt database: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "archives/partial"), 0o755); err != nil {
		return nil, fmt.Errorf("make apt database: %w", err)
	}
	if err := os.Link(filepath.Join(a.dir, sourceCache), filepath.Join(dir, sourceCache)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("make apt database: %w", err)
	}
	own := *a
	own.dir = dir
	return &own, nil
}

// sourceCache is what apt makes of the lists alone (apt.conf(5), Dir::Cache).
const sourceCache = "srcpkgcache.bin"

// keyring holds Debian's archive keys: package debian-archive-keyring.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

func (a *apt) options() []string {
	o := []string{
		"Dir::State::lists=" + a.lists,
		"Dir::State::status=" + filepath.Join(a.dir, "status"),
		"Dir::State::extended_states=" + filepath.Join(a.dir, "extended_states"),
		"Dir::Cache=" + a.dir,
		// Configurations for containers have none; without them each command reads
		// all lists anew.
		"Dir::Cache::pkgcache=pkgcache.bin", "Dir::Cache::srcpkgcache=" + sourceCache,
		"Dir::Cache::archives=" + filepath.Join(a.dir, "archives"),
		"Dir::Etc::sourcelist=" + filepath.Join(filepath.Dir(a.lists), "etc/sources.list"),
		"Dir::Etc::sourceparts=/dev/null",
		"Dir::Etc::preferences=/dev/null", "Dir::Etc::preferencesparts=/dev/null",
		"APT::Architecture=amd64", "APT::Architectures=amd64",
		"APT::Install-Recommends=false", "APT::Install-Suggests=false",
		"APT::Sandbox::User=root",
		// Lists that some hosts add: nobody looks at them here.
		"Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false", "Acquire::Languages=none",
		// Looking up packages in compressed lists unpacks them again and again.
		"Acquire::GzipIndexes=false",
		"Acquire::Retries=3", "Acquire::http::Timeout=30",
		"Debug::NoLocking=true",
	}
	args := make([]string, 0, 2*len(o))
	for _, v := range o {
		args = append(args, "-o", v)
	}
	return args
}

// run gives the standard output of one apt command.
func (a *apt) run(ctx context.Context, program string, args ...string) (string, error) {
	cmd := sandbox.Command(ctx, program, append(a.options(), args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		return "", fmt.Errorf("%s %s: %w", program, args[0], ctx.Err())
	}
	if err != nil {
		return "", fmt.Errorf("%s %s for base %s: %w: %s", program, args[0], a.source.Name, err, lastLines(stderr.String(), 4))
	}
	return stdout.String(), nil
}

func (a *apt) update(ctx context.Context) error {
	if _, err := os.Stat(keyring); err != nil {
		return fmt.Errorf("keyring of base %s: %w: install the package debian-archive-keyring", a.source.Name, err)
	}
	_, err := a.run(ctx, "apt-get", "update", "-q", "--error-on=any")
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		return fmt.Errorf("read the package lists from %s: is the mirror reachable? %w", a.archives[0].address, err)
	}
	return nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "; ")
}
