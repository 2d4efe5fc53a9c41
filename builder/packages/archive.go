package packages

import (
	"context"
	"fmt"
	"strings"

	"imgbuild/builder/sandbox"
)

// archive is one archive of a distribution: its name in Package.Archive, its
// address and its suites.
type archive struct {
	name, address string
	suites        []string
}

// archives of a base of the family apt. Source.Mirror names them; without it
// they are where this machine's own apt has Debian from, and without that at
// the distribution's own addresses, as sources.list(5) has them.
func archives(ctx context.Context, s Source) ([]archive, error) {
	if s.Family != "apt" {
		return nil, fmt.Errorf("base %s: not built yet: only bases of the family apt are", s.Name)
	}
	list := []archive{
		{"debian", "http://deb.debian.org/debian", []string{s.Suite, s.Suite + "-updates"}},
		{"debian-security", "http://deb.debian.org/debian-security", []string{s.Suite + "-security"}},
	}
	if s.Mirror != "" {
		return mirrored(list, s), nil
	}
	// A host without apt's lists, or without apt, has the defaults.
	out, err := sandbox.Command(ctx, "apt-get", "indextargets", "--format", "$(CREATED_BY) $(ORIGIN) $(REPO_URI)").Output()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err == nil {
		useHost(list, string(out))
	}
	return list, nil
}

// mirrored puts the archives on the mirror. For URL/debian, the usual layout,
// the security archive is URL/debian-security, for any other URL it is below
// it. A mirror without it is an error of apt's: an image without security
// updates must not come about unnoticed.
func mirrored(list []archive, s Source) []archive {
	mirror := strings.TrimSuffix(s.Mirror, "/")
	list[0].address = mirror
	list[1].address = strings.TrimSuffix(mirror, "/debian") + "/debian-security"
	return list
}

// useHost takes the addresses of archives that apt-get indextargets names: the
// first for each archive, which its path tells.
func useHost(list []archive, targets string) {
	found := map[string]string{}
	for _, line := range strings.Split(targets, "\n") {
		f := strings.Fields(line)
		// Others have an archive of the name debian too: the origin is in the
		// signed lists.
		if len(f) != 3 || f[0] != "Packages" || f[1] != "Debian" || !strings.HasPrefix(f[2], "http") {
			continue
		}
		address := strings.TrimSuffix(f[2], "/")
		name := address[strings.LastIndex(address, "/")+1:]
		if found[name] == "" {
			found[name] = address
		}
	}
	for i, ar := range list {
		if found[ar.name] != "" {
			list[i].address = found[ar.name]
		}
	}
}
