package packages

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sync/errgroup"

	"imgbuild/builder/cache"
	"imgbuild/builder/space"
)

// File is the host path of a package's file in the cache, fetched or not.
func File(c cache.Cache, p Package) string {
	return filepath.Join(c.Path("debs", p.SHA256), deb(p))
}

func deb(p Package) string {
	return p.Name + "_" + strings.ReplaceAll(p.Version, ":", "%3a") + "_" + p.Arch + ".deb"
}

// Fetch brings the files of all packages into the cache, each checked against
// its pinned SHA-256. With offline it only checks that they are there.
func Fetch(ctx context.Context, c cache.Cache, s Source, pkgs []Package, offline bool, log *slog.Logger) error {
	var missing []Package
	var size int64
	for _, p := range pkgs {
		if !c.Has("debs", p.SHA256) {
			missing = append(missing, p)
			size += p.Size
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if offline {
		return fmt.Errorf("%d package files are not in the cache (%s): run once without --offline", len(missing), firstNames(missing, 3))
	}
	if err := space.Check(c.Root, size); err != nil {
		return fmt.Errorf("fetch %d packages of base %s: %w", len(missing), s.Name, err)
	}
	log.Info("fetch packages", "base", s.Name, "files", len(missing), "MiB", size>>20)
	list, err := archives(ctx, s)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	// Several apt processes hide the mirror's latency; each fetches a slice.
	const parallel = 6
	for i := range parallel {
		g.Go(func() error {
			for j := i; j < len(missing); j += parallel {
				if err := fetchOne(ctx, c, s, list, missing[j]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func fetchOne(ctx context.Context, c cache.Cache, s Source, list []archive, p Package) error {
	_, _, err := c.Dir(ctx, "debs", p.SHA256, func(ctx context.Context, dir string) error {
		a := &apt{dir: dir, source: s}
		file := filepath.Join(dir, deb(p))
		for _, ar := range list {
			if ar.name != p.Archive {
				continue
			}
			address := strings.TrimSuffix(ar.address, "/") + "/" + p.File
			if _, err := a.run(ctx, "/usr/lib/apt/apt-helper", "download-file", address, file); err != nil {
				return fetchError(p, ar.address, err)
			}
			return verify(file, p)
		}
		return fmt.Errorf("package %s: base %s has no archive %q: run imgbuild lock", p.Name, s.Name, p.Archive)
	})
	return err
}

// notFound is how apt reports the HTTP status; a file's name may hold 404 too.
var notFound = regexp.MustCompile(`\b404 +Not Found`)

func fetchError(p Package, mirror string, err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case notFound.MatchString(err.Error()):
		return fmt.Errorf("package %s %s is no longer on the mirror %s: run imgbuild lock: %w", p.Name, p.Version, mirror, err)
	case strings.Contains(err.Error(), "No space left"):
		return fmt.Errorf("fetch package %s %s: %w", p.Name, p.Version, err)
	}
	return fmt.Errorf("fetch package %s %s from %s: is the mirror reachable? %w", p.Name, p.Version, mirror, err)
}

func firstNames(pkgs []Package, n int) string {
	var names []string
	for i, p := range pkgs {
		if i == n {
			names = append(names, "…")
			break
		}
		names = append(names, deb(p))
	}
	return strings.Join(names, ", ")
}

func verify(file string, p Package) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(file), err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != p.SHA256 {
		return fmt.Errorf("package %s %s: SHA-256 is %s, imgbuild.lock has %s: the mirror or the lock is wrong; run imgbuild lock and compare", p.Name, p.Version, got, p.SHA256)
	}
	return nil
}
