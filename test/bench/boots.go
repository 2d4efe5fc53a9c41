package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"imgbuild/builder/cache"
	"imgbuild/lab"
)

// boot is one boot until the service test has passed. Moments are seconds since
// power-on, steps are durations.
type boot struct{ moments, steps []step }

// side is one of two images that are compared.
type side struct {
	name, images string
	// again is how many Ready nodes have their power cut and boot a second time.
	again int
	boots []boot
	// later are boots of a node that was Ready before its power was cut.
	later []boot
}

// measureBoots boots the baked image and the importing one in turn, each on a
// fresh disk and alone. A boot that fails is an error and the others go on.
func measureBoots(ctx context.Context, w *world, o options) ([]table, error) {
	dir, err := w.warmCache()
	if err != nil {
		return nil, err
	}
	baked := &side{name: "baked", images: w.path("baked"), again: o.again}
	imported := &side{name: "imported", images: w.path("imported")}
	w.say("build the image and the one that imports")
	if _, err := w.imgbuild(ctx, dir, "role", "master", "--out", baked.images); err != nil {
		return nil, err
	}
	roles, err := importedRole(ctx, w, cache.Cache{Root: dir}, o.layers)
	if err != nil {
		return nil, fmt.Errorf("make the role that imports: %w", err)
	}
	if _, err := w.imgbuild(ctx, dir, "role", "master", "--roles", roles, "--out", imported.images); err != nil {
		return nil, err
	}
	sides := []*side{baked, imported}
	for n := 0; n < o.runs*len(sides) && ctx.Err() == nil; n++ {
		s := sides[n%len(sides)]
		w.say("%s images, %d of %d", s.name, n/len(sides)+1, o.runs)
		if bootErr := w.bootOnce(ctx, dir, s); bootErr != nil {
			w.say("it failed: %v", bootErr)
			err = errors.Join(err, fmt.Errorf("%s images: %w", s.name, bootErr))
		}
	}
	if len(baked.boots) == 0 || len(imported.boots) == 0 {
		return nil, err
	}
	return bootTables(baked, imported, o.layers), err
}

func bootTables(baked, imported *side, layers string) []table {
	columns := []string{"baked", "imported at boot"}
	const quotient = "imported ÷ baked"
	packed := "compressed with gzip, as registries have them"
	if layers == layersTar {
		packed = "not compressed"
	}
	steps, short := longer(rows(func(b boot) []step { return b.steps }, baked.boots, imported.boots))
	tables := []table{
		{
			Title: "First boot: container images baked, against imported", What: "seconds from power-on until", Columns: columns, Ratio: quotient,
			Rows: rows(func(b boot) []step { return b.moments }, baked.boots, imported.boots),
			Notes: []string{
				fmt.Sprintf("Boots: %d baked and %d imported, in turn, each on a fresh disk and alone on the machine.", len(baked.boots), len(imported.boots)),
				"The other image has the same parts and packages. It holds one OCI archive per image in its root, layers " + packed +
					", and a unit that imports them with `ctr images import`, one after the other, between containerd's start and the agent's.",
			},
		},
		{
			Title: "First boot, step by step", What: "seconds for", Columns: columns, Ratio: quotient,
			Rows: steps, Notes: []string{fmt.Sprintf("Steps of less than %g s are left out: %d.", least, short)},
		},
	}
	if len(baked.later) > 0 {
		tables = append(tables, table{
			Title: "Second boot", What: "seconds from power-on until", Columns: columns[:1],
			Rows:  rows(func(b boot) []step { return b.moments }, baked.later),
			Notes: []string{fmt.Sprintf("Boots: %d, each after the power of a Ready node was cut.", len(baked.later))},
		})
	}
	return tables
}

// least is how many seconds a step takes that is worth a row.
const least = 0.5

// longer are the rows that are worth it, and how many are not.
func longer(all []row) (list []row, short int) {
	for _, r := range all {
		if slices.ContainsFunc(r.Cells, func(s sample) bool { return s.median() >= least }) {
			list = append(list, r)
		}
	}
	return list, len(all) - len(list)
}

// rows has a row for each step of any boot, and a column for each side.
func rows(of func(boot) []step, sides ...[]boot) []row {
	var list []row
	for column, boots := range sides {
		for _, b := range boots {
			next := 0
			for _, s := range of(b) {
				i := slices.IndexFunc(list, func(r row) bool { return r.Name == s.name })
				if i < 0 {
					// Where it was met: behind the step before it.
					i = next
					list = slices.Insert(list, i, row{s.name, make([]sample, len(sides))})
				}
				list[i].Cells[column] = append(list[i].Cells[column], s.seconds)
				next = i + 1
			}
		}
	}
	return list
}

// bootOnce starts the machine on a fresh disk and adds what it saw to the side.
// The lab is down afterwards, whatever happens.
func (w *world) bootOnce(ctx context.Context, dir string, s *side) (err error) {
	defer func() {
		// Also where ctx has ended: no machine may stay.
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		_, downErr := w.imgbuild(down, dir, "lab", "down")
		err = errors.Join(err, downErr)
	}()
	up := []string{"lab", "up", "--images", s.images, "--timeout", "45m"}
	if _, err := w.imgbuild(ctx, dir, up...); err != nil {
		return err
	}
	b, err := w.readBoot(ctx, dir)
	if err != nil {
		return err
	}
	s.boots = append(s.boots, b)
	if len(s.later) >= s.again {
		return nil
	}
	w.say("second boot")
	if _, err := w.imgbuild(ctx, dir, "lab", "kill", w.node); err != nil {
		return err
	}
	if _, err := w.imgbuild(ctx, dir, up...); err != nil {
		return err
	}
	if b, err = w.readBoot(ctx, dir); err != nil {
		return err
	}
	s.later = append(s.later, b)
	return nil
}

// readBoot asks the lab about the boot that has just succeeded.
func (w *world) readBoot(ctx context.Context, dir string) (boot, error) {
	out, err := w.imgbuild(ctx, dir, "lab", "status", "-o", "json")
	if err != nil {
		return boot{}, err
	}
	var status lab.Status
	if err := json.Unmarshal(out, &status); err != nil {
		return boot{}, fmt.Errorf("read lab status: %w", err)
	}
	if len(status.Nodes) != 1 || !status.Nodes[0].Ready || !status.ServiceTest.Passed {
		return boot{}, fmt.Errorf("the cluster is not up: %s", out)
	}
	log, err := w.imgbuild(ctx, dir, "lab", "logs", w.node)
	if err != nil {
		return boot{}, err
	}
	events := lastBoot(string(log))
	return boot{moments: moments(status.Nodes[0].Seconds), steps: steps(events)}, nil
}

// moments are the lab's milestones.
func moments(m lab.Milestones) []step {
	var list []step
	add := func(name string, at *float64) {
		if at != nil {
			list = append(list, step{name, *at})
		}
	}
	add("the kernel starts", m.Kernel)
	add("state is mounted in the initramfs", m.Initramfs)
	add("Ignition is done", m.Ignition)
	add("the agent starts", m.Agent)
	add("the API answers", m.API)
	add("the node is Ready", m.NodeReady)
	add("the service test has passed", m.ServiceTest)
	add("the agent is done", m.Ready)
	return list
}
