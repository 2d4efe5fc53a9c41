package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// often is how often what takes seconds is run.
const often = 5

// measureBuilds compares with mkosi first, and goes on with the cache that the
// last of these builds has filled. After an error there are fewer tables.
func measureBuilds(ctx context.Context, w *world, runs int) ([]table, error) {
	if err := w.copyRole(); err != nil {
		return nil, err
	}
	var tables []table
	for _, part := range []func() (table, error){
		func() (table, error) { return againstMkosi(ctx, w, runs) },
		func() (table, error) { return buildAgain(ctx, w) },
		func() (table, error) { return measureSizes(ctx, w) },
	} {
		t, err := part()
		if err != nil {
			return tables, err
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// roles is the folder of the measured role: imgbuild's own, with a file that
// can be changed.
func (w *world) roles() string { return w.path("roles") }

func (w *world) copyRole() error {
	if err := os.CopyFS(filepath.Join(w.roles(), "master"), os.DirFS("roles/master")); err != nil {
		return fmt.Errorf("copy imgbuild's role master: %w: run make bench in imgbuild's own folder", err)
	}
	return w.changeRole("first")
}

// changeRole gives one file of the role another content.
func (w *world) changeRole(text string) error {
	file := filepath.Join(w.roles(), "master/rootfs/etc/motd")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text+"\n"), 0o644)
}

// build measures the build of the role.
func (w *world) build(ctx context.Context, cache string) (cost, error) {
	return w.timed(ctx, cache, "role", "master", "--roles", w.roles(), "--out", w.path("out"))
}

// buildAgain measures builds for which nearly everything is there.
func buildAgain(ctx context.Context, w *world) (table, error) {
	cache, err := w.warmCache()
	if err != nil {
		return table{}, err
	}
	if _, err := w.build(ctx, cache); err != nil {
		return table{}, err
	}
	var same, changed costs
	for n := range often {
		w.say("build with nothing changed and with one file changed, %d of %d", n+1, often)
		c, err := w.build(ctx, cache)
		if err != nil {
			return table{}, err
		}
		same.add(c)
		if err := w.changeRole(fmt.Sprintf("changed %d", n)); err != nil {
			return table{}, err
		}
		if c, err = w.build(ctx, cache); err != nil {
			return table{}, err
		}
		changed.add(c)
	}
	return table{
		Title: "Building again", What: "`imgbuild role master`, everything in the cache",
		Columns: []string{"seconds", "CPU seconds", "peak memory, MiB", "written, MiB"},
		Rows: []row{
			{"nothing changed", []sample{same.seconds, same.cpu, same.peak, same.written}},
			{"one file of the role changed", []sample{changed.seconds, changed.cpu, changed.peak, changed.written}},
		},
		Notes: []string{fmt.Sprintf("Runs: %d of each, in turn.", often), noteCost},
	}, nil
}

// noteCost says how cost is measured.
const noteCost = "Memory is the sum of the PSS of all processes of the command, every 100 ms. Written is what the disk's " +
	"counter of sectors (/proc/diskstats) says, with a sync before and after, whoever wrote it."

// againstMkosi builds the operating system from packages, ours and mkosi's in
// turn: first with packages fetched anew, then with those in the cache.
func againstMkosi(ctx context.Context, w *world, runs int) (table, error) {
	m, err := newMkosi(ctx, w)
	if err != nil {
		return table{}, err
	}
	var fresh, cached, peerFresh, peerCached costs
	var locks, used, peerUsed sample
	for n := range runs {
		w.say("cold builds, %d of %d", n+1, runs)
		lock, build, err := w.coldBuild(ctx, false)
		if err != nil {
			return table{}, err
		}
		locks = append(locks, lock.seconds)
		fresh.add(lock.and(build))
		c, err := m.build(ctx, false)
		if err != nil {
			return table{}, err
		}
		peerFresh.add(c)
		if lock, build, err = w.coldBuild(ctx, true); err != nil {
			return table{}, err
		}
		locks = append(locks, lock.seconds)
		cached.add(lock.and(build))
		if c, err = m.build(ctx, true); err != nil {
			return table{}, err
		}
		peerCached.add(c)
		for file, to := range map[string]*sample{w.path("out/master.raw"): &used, m.image(): &peerUsed} {
			mib, err := allocated(file)
			if err != nil {
				return table{}, err
			}
			*to = append(*to, mib)
		}
	}
	t := table{Title: "From packages to a disk image", What: "components in the cache, layers not", Columns: []string{"imgbuild", "mkosi"}, Ratio: "mkosi ÷ imgbuild"}
	for _, kind := range []struct {
		name      string
		ours, its costs
	}{{"packages fetched anew", fresh, peerFresh}, {"packages in the cache", cached, peerCached}} {
		t.Rows = append(t.Rows,
			row{kind.name + ": seconds", []sample{kind.ours.seconds, kind.its.seconds}},
			row{kind.name + ": CPU seconds", []sample{kind.ours.cpu, kind.its.cpu}},
			row{kind.name + ": peak memory, MiB", []sample{kind.ours.peak, kind.its.peak}},
			row{kind.name + ": written, MiB", []sample{kind.ours.written, kind.its.written}},
		)
	}
	t.Rows = append(t.Rows,
		row{"of it `imgbuild lock`: seconds", []sample{locks, nil}},
		row{"image, MiB on disk", []sample{used, peerUsed}},
		row{"written (packages in the cache) ÷ image", []sample{over(cached.written, used), over(peerCached.written, peerUsed)}})
	t.Notes = []string{
		fmt.Sprintf("Runs: %d of each, in turn. The same %d packages by name, from the same mirror.", runs, m.packages),
		"imgbuild: `lock` and `role master`. Besides the packages its time holds: the tools tree (fetched and unpacked), Kubernetes and its container images unpacked into containerd's store, an initramfs with Ignition, a second partition, dm-verity, a scan for secrets, reading the image back, manifest and SBOM.",
		"mkosi " + m.version + " from Debian 13, in a tree of its own that was made before: `Format=disk`, `Bootable=no`, its default root of ext4. It makes no initramfs, no Kubernetes, no container store, no verity and no scan, and its kernel packages make no initramfs either.",
		noteCost,
	}
	return t, nil
}

// coldBuild locks and builds with an empty cache but for the components and,
// where wanted, packages.
func (w *world) coldBuild(ctx context.Context, debs bool) (lock, build cost, err error) {
	cache, err := w.freshCache(debs)
	if err != nil {
		return lock, build, err
	}
	if err := os.RemoveAll(w.path("out")); err != nil {
		return lock, build, err
	}
	if lock, err = w.timed(ctx, cache, "lock"); err != nil {
		return lock, build, err
	}
	if build, err = w.build(ctx, cache); err != nil {
		return lock, build, err
	}
	if w.cached != "" {
		err = os.RemoveAll(w.cached)
	}
	w.cached = cache
	return lock, build, err
}

// over divides the medians, as a sample of one.
func over(a, b sample) sample {
	if len(a) == 0 || b.median() == 0 {
		return nil
	}
	return sample{a.median() / b.median()}
}
