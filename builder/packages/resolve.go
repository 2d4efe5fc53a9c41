package packages

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"imgbuild/builder/cache"
)

// Tree is one set of packages to resolve: Want on top of the tree On.
type Tree struct {
	Name string
	Want []string
	// On names an earlier tree whose packages are there already; empty for a
	// tree of its own, which then also gets the essential packages.
	On string
	// Provided are package names that count as installed: dependencies that the
	// image meets in another way, or knowingly does not meet.
	Provided []string
}

// Resolve pins the packages of each tree with all their dependencies, sorted
// by name. It reads the base's signed package lists from its mirror; apt
// refuses lists whose signature does not verify.
func Resolve(ctx context.Context, c cache.Cache, s Source, trees []Tree) (map[string][]Package, error) {
	a, done, err := newApt(ctx, c, s)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := a.update(ctx); err != nil {
		return nil, err
	}
	result := map[string][]Package{}
	// The control stanzas of all that is installed in a tree, with what it stands on.
	whole := map[string][]string{"": nil}
	for len(trees) > 0 {
		var ready, later []Tree
		for _, t := range trees {
			if _, ok := whole[t.On]; ok {
				ready = append(ready, t)
			} else {
				later = append(later, t)
			}
		}
		if len(ready) == 0 {
			return nil, fmt.Errorf("resolve packages of %s: it stands on %q, which is no tree", later[0].Name, later[0].On)
		}
		pinned, err := a.resolveAll(ctx, ready, whole)
		if err != nil {
			return nil, err
		}
		for i, t := range ready {
			result[t.Name], whole[t.Name] = pinned[i].packages, slices.Concat(whole[t.On], pinned[i].stanzas)
		}
		trees = later
	}
	return result, nil
}

// resolveAll resolves trees that do not stand on each other, side by side: apt
// uses one processor.
func (a *apt) resolveAll(ctx context.Context, trees []Tree, whole map[string][]string) ([]resolved, error) {
	pinned := make([]resolved, len(trees))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(min(runtime.NumCPU(), 4))
	for i, t := range trees {
		g.Go(func() error {
			own, err := a.database()
			if err == nil {
				pinned[i], err = own.resolve(ctx, t, whole[t.On])
			}
			if err != nil {
				return fmt.Errorf("resolve packages of %s: %w", t.Name, err)
			}
			return nil
		})
	}
	return pinned, g.Wait()
}

// resolved are the packages of one tree, and their control stanzas.
type resolved struct {
	packages []Package
	stanzas  []string
}

// resolve resolves one tree; on are the stanzas of all that it stands on.
func (a *apt) resolve(ctx context.Context, t Tree, on []string) (resolved, error) {
	if len(t.Want) == 0 {
		return resolved{packages: []Package{}}, nil
	}
	if err := a.setInstalled(on, t.Provided); err != nil {
		return resolved{}, err
	}
	args := []string{"install", "--print-uris", "-qq", "-y", "--no-remove"}
	if t.On == "" {
		// apt counts itself as essential; an image installs nothing later.
		args = append(args, "?and(?essential,?not(?name(^apt$)))")
	}
	out, err := a.run(ctx, "apt-get", append(args, t.Want...)...)
	if err != nil {
		return resolved{}, err
	}
	uris, err := parseURIs(out)
	if err != nil {
		return resolved{}, err
	}
	return a.describe(ctx, uris, t.On == "")
}

// setInstalled tells apt which packages the tree below holds.
func (a *apt) setInstalled(on, provided []string) error {
	status := ""
	if len(provided) > 0 {
		status = "Package: imgbuild-provided\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n" +
			"Maintainer: imgbuild\nDescription: what an image provides without a package\n" +
			"Provides: " + strings.Join(provided, ", ") + "\n\n"
	}
	for _, stanza := range on {
		status += stanza + "\nStatus: install ok installed\n\n"
	}
	return os.WriteFile(filepath.Join(a.dir, "status"), []byte(status), 0o644)
}

// show gives the control stanzas of packages, each named NAME=VERSION.
func (a *apt) show(ctx context.Context, names []string) ([]string, error) {
	out, err := a.run(ctx, "apt-cache", append([]string{"show", "--no-all-versions"}, names...)...)
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSpace(out), "\n\n"), nil
}

// uri is one line of apt-get --print-uris: 'URI' FILE SIZE HASH:DIGEST.
type uri struct {
	address, file string
	size          int64
}

func parseURIs(out string) ([]uri, error) {
	var list []uri
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if line == "" {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[0], "'") {
			return nil, fmt.Errorf("apt-get --print-uris: unexpected line %q", line)
		}
		size, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("apt-get --print-uris: size in line %q: %w", line, err)
		}
		list = append(list, uri{strings.Trim(f[0], "'"), f[1], size})
	}
	return list, nil
}

// describe turns addresses into packages, with the SHA-256 of the signed lists,
// of a tree that stands alone or of what comes on top of one.
func (a *apt) describe(ctx context.Context, uris []uri, alone bool) (resolved, error) {
	var names []string
	for _, u := range uris {
		// NAME_VERSION_ARCH.deb, with the version's colon as %3a.
		f := strings.Split(strings.TrimSuffix(u.file, ".deb"), "_")
		if len(f) != 3 {
			return resolved{}, fmt.Errorf("apt-get --print-uris: unexpected file name %q", u.file)
		}
		names = append(names, f[0]+"="+strings.ReplaceAll(f[1], "%3a", ":"))
	}
	stanzas, err := a.show(ctx, names)
	if err != nil {
		return resolved{}, err
	}
	digest, control := map[string]Package{}, map[string]map[string]string{}
	for _, stanza := range stanzas {
		f := fields(stanza)
		digest[f["Filename"]] = Package{
			Name: f["Package"], Version: f["Version"], Arch: f["Architecture"],
			File: f["Filename"], SHA256: f["SHA256"],
		}
		control[f["Package"]] = f
	}
	pkgs := make([]Package, 0, len(uris))
	for _, u := range uris {
		name, file := inArchive(a.archives, u.address)
		p, ok := digest[file]
		if !ok || p.SHA256 == "" {
			return resolved{}, fmt.Errorf("package file %s: not in the signed package lists", u.file)
		}
		p.Archive, p.Size = name, u.size
		pkgs = append(pkgs, p)
	}
	slices.SortFunc(pkgs, func(x, y Package) int { return strings.Compare(x.Name, y.Name) })
	if alone {
		markEssential(pkgs, control)
	}
	return resolved{pkgs, stanzas}, nil
}

// inArchive finds the archive of an address by the longest address that it
// starts with, and the path below that.
func inArchive(list []archive, address string) (name, file string) {
	best := ""
	for _, ar := range list {
		prefix := strings.TrimSuffix(ar.address, "/") + "/"
		if strings.HasPrefix(address, prefix) && len(prefix) > len(best) {
			best, name, file = prefix, ar.name, strings.TrimPrefix(address, prefix)
		}
	}
	if plain, err := url.PathUnescape(file); err == nil {
		file = plain
	}
	return name, file
}

// fields reads one stanza of a Debian control file (deb822(5)); continuation
// lines are dropped, since nothing here needs them.
func fields(stanza string) map[string]string {
	m := map[string]string{}
	for _, line := range strings.Split(stanza, "\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, " ") {
			m[k] = strings.TrimSpace(v)
		}
	}
	return m
}
