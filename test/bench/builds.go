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
// last cold build of the master has filled. After an error there are fewer tables.
func measureBuilds(ctx context.Context, w *world, runs int) ([]table, error) {
	if err := w.copyRole(); err != nil {
		return nil, err
	}
	var tables []table
	for _, part := range []func() (table, error){
		func() (table, error) { return againstMkosi(ctx, w, runs) },
		func() (table, error) { return coldMaster(ctx, w, runs) },
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

// system is the folder of a role that is the operating system and nothing more.
func (w *world) system() string { return "test/bench/system" }

// changeRole gives one file of the role another content.
func (w *world) changeRole(text string) error {
	file := filepath.Join(w.roles(), "master/rootfs/etc/motd")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text+"\n"), 0o644)
}

// build measures the build of the master of a folder of roles.
func (w *world) build(ctx context.Context, cache, roles string) (cost, error) {
	return w.timed(ctx, cache, "role", "master", "--roles", roles, "--out", w.path("out"))
}

// buildAgain measures builds for which nearly everything is there.
func buildAgain(ctx context.Context, w *world) (table, error) {
	cache, err := w.warmCache()
	if err != nil {
		return table{}, err
	}
	if _, err := w.build(ctx, cache, w.roles()); err != nil {
		return table{}, err
	}
	var same, changed costs
	for n := range often {
		w.say("build with nothing changed and with one file changed, %d of %d", n+1, often)
		c, err := w.build(ctx, cache, w.roles())
		if err != nil {
			return table{}, err
		}
		same.add(c)
		if err := w.changeRole(fmt.Sprintf("changed %d", n)); err != nil {
			return table{}, err
		}
		if c, err = w.build(ctx, cache, w.roles()); err != nil {
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
	kinds := []*struct {
		name      string
		debs      bool
		ours, its costs
	}{{name: "packages fetched anew"}, {name: "packages in the cache", debs: true}}
	var locks, used, peerUsed sample
	for n := range runs {
		for _, kind := range kinds {
			w.say("the operating system, %s, %d of %d", kind.name, n+1, runs)
			lock, build, err := w.coldBuild(ctx, kind.debs, w.system())
			if err != nil {
				return table{}, err
			}
			locks = append(locks, lock.seconds)
			kind.ours.add(lock.and(build))
			c, err := m.build(ctx, kind.debs)
			if err != nil {
				return table{}, err
			}
			kind.its.add(c)
		}
		if used, err = addAllocated(used, w.path("out/master.raw")); err != nil {
			return table{}, err
		}
		if peerUsed, err = addAllocated(peerUsed, m.image()); err != nil {
			return table{}, err
		}
	}
	t := table{Title: "From packages to a bootable operating system", What: "layers not in the cache", Columns: []string{"imgbuild", "mkosi"}, Ratio: "mkosi ÷ imgbuild"}
	for _, kind := range kinds {
		t.Rows = append(t.Rows, costRows(kind.name, kind.ours, kind.its)...)
	}
	t.Rows = append(t.Rows, row{"of it `imgbuild lock`: seconds", []sample{locks, nil}}, row{"image, MiB on disk", []sample{used, peerUsed}})
	t.Notes = []string{
		fmt.Sprintf("Runs: %d of each, in turn. The same %d packages by name, from the same mirror. Both make a disk image with an ESP with systemd-boot and one unified kernel image, a root of erofs, and its dm-verity hash tree.", runs, m.packages),
		"imgbuild: `lock` and `role master` of the part `machine` alone. Its time also holds the tools tree (fetched and unpacked), the state partition, a scan for secrets, reading the image back, manifest and SBOM. Its initramfs is dracut's, with Ignition.",
		"mkosi " + m.version + " from Debian 13, in a tree of its own that was made before. Its initramfs is its own default, made from packages.",
		noteCost,
	}
	return t, nil
}

// coldMaster builds the whole master with no layer in the cache.
func coldMaster(ctx context.Context, w *world, runs int) (table, error) {
	t := table{Title: "From packages to a master", What: "components in the cache, layers not", Columns: []string{"imgbuild"}}
	for _, debs := range []bool{false, true} {
		name := "packages fetched anew"
		if debs {
			name = "packages in the cache"
		}
		var all costs
		var used sample
		for n := range runs {
			w.say("the master, %s, %d of %d", name, n+1, runs)
			lock, build, err := w.coldBuild(ctx, debs, w.roles())
			if err != nil {
				return table{}, err
			}
			all.add(lock.and(build))
			if used, err = addAllocated(used, w.path("out/master.raw")); err != nil {
				return table{}, err
			}
		}
		t.Rows = append(t.Rows, costRows(name, all)...)
		t.Rows = append(t.Rows, row{name + ": written ÷ image on disk", []sample{over(all.written, used)}})
	}
	t.Notes = []string{fmt.Sprintf("Runs: %d of each. `imgbuild lock` and `imgbuild role master`, all of it.", runs), noteCost}
	return t, nil
}

// costRows are a row for each figure, with a column for each side.
func costRows(name string, sides ...costs) []row {
	rows := []row{{Name: name + ": seconds"}, {Name: name + ": CPU seconds"}, {Name: name + ": peak memory, MiB"}, {Name: name + ": written, MiB"}}
	for _, c := range sides {
		for i, s := range []sample{c.seconds, c.cpu, c.peak, c.written} {
			rows[i].Cells = append(rows[i].Cells, s)
		}
	}
	return rows
}

func addAllocated(s sample, file string) (sample, error) {
	mib, err := allocated(file)
	return append(s, mib), err
}

// coldBuild locks and builds with an empty cache but for the components and,
// where wanted, packages.
func (w *world) coldBuild(ctx context.Context, debs bool, roles string) (lock, build cost, err error) {
	cache, err := w.freshCache(debs)
	if err != nil {
		return lock, build, err
	}
	if err := os.RemoveAll(w.path("out")); err != nil {
		return lock, build, err
	}
	if lock, err = w.timed(ctx, cache, "lock", "--roles", roles); err != nil {
		return lock, build, err
	}
	if build, err = w.build(ctx, cache, roles); err != nil {
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
