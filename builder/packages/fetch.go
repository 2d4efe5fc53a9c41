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
	"slices"
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
	dir, done, err := c.Scratch("debs")
	if err != nil {
		return err
	}
	defer done()
	// Several apt processes hide the mirror's latency. Each fetches its share over
	// one connection, which takes longer to make than to use.
	const parallel = 6
	g, ctx := errgroup.WithContext(ctx)
	for i := range min(parallel, len(missing)) {
		var share []Package
		for j := i; j < len(missing); j += parallel {
			share = append(share, missing[j])
		}
		g.Go(func() error {
			if err := download(ctx, s, list, share, dir); err != nil {
				return space.Explain(err, c.Root, dir)
			}
			return keep(ctx, c, share, dir)
		})
	}
	return g.Wait()
}

// download fetches the packages' files into dir.
func download(ctx context.Context, s Source, list []archive, pkgs []Package, dir string) error {
	args := []string{"download-file"}
	mirrors := map[string]string{}
	for _, p := range pkgs {
		i := slices.IndexFunc(list, func(a archive) bool { return a.name == p.Archive })
		if i < 0 {
			return fmt.Errorf("package %s: base %s has no archive %q: run imgbuild lock", p.Name, s.Name, p.Archive)
		}
		mirrors[p.SHA256] = list[i].address
		address := strings.TrimSuffix(list[i].address, "/") + "/" + p.File
		// Address, file, digest: keep compares the digest, and says it better.
		args = append(args, address, filepath.Join(dir, p.SHA256), "")
	}
	a := &apt{lists: filepath.Join(dir, "lists"), dir: dir, source: s}
	_, err := a.run(ctx, "/usr/lib/apt/apt-helper", args...)
	if err == nil {
		return nil
	}
	// apt names addresses; the first file that is not whole is one of them.
	for _, p := range pkgs {
		if info, statErr := os.Stat(filepath.Join(dir, p.SHA256)); statErr != nil || info.Size() != p.Size {
			return fetchError(p, mirrors[p.SHA256], err)
		}
	}
	return err
}

// keep moves the files that download has left in dir into the cache.
func keep(ctx context.Context, c cache.Cache, pkgs []Package, dir string) error {
	for _, p := range pkgs {
		_, _, err := c.Dir(ctx, "debs", p.SHA256, func(_ context.Context, entry string) error {
			file := filepath.Join(dir, p.SHA256)
			if err := verify(file, p); err != nil {
				return err
			}
			return os.Rename(file, filepath.Join(entry, deb(p)))
		})
		if err != nil {
			return err
		}
	}
	return nil
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
