// Bench measures imgbuild as a user meets it and prints Markdown tables, which
// docs/performance.md holds. Run it with `make bench`, as root, in imgbuild's
// own folder and on a machine that does nothing else.
//
// It runs bin/imgbuild and no code of its own of what it measures: builds,
// alternating with mkosi on the same packages, and first boots in the lab,
// alternating between the image and one that imports the same container images
// when it boots. Everything it makes is in a temporary folder of the cache and
// goes with it, and so do the lab's machines.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	builds, boots, json bool
	runs                int
	// again is how many of the baked nodes boot a second time.
	again int
	// cluster is a cluster.yaml to measure with; empty for that of
	// `imgbuild init --topology single`.
	cluster string
	// layers is how layers are packed in the archives that are imported at boot.
	layers string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends it even where a clean-up hangs.
	context.AfterFunc(ctx, stop)
	o, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	err = run(ctx, o, os.Stdout)
	if ctx.Err() != nil {
		err = errors.New("interrupted: nothing of it is left")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&o.builds, "builds", false, "measure builds (without --builds and --boots: both)")
	f.BoolVar(&o.boots, "boots", false, "measure boots in the lab")
	f.IntVar(&o.runs, "runs", 3, "how often each side of a comparison runs")
	f.IntVar(&o.again, "again", 1, "how many of the baked nodes boot a second time")
	f.StringVar(&o.cluster, "cluster", "", "a cluster.yaml of topology single (default: what imgbuild init makes)")
	f.StringVar(&o.layers, "layers", layersGzip, "layers of the archives that are imported at boot: gzip, as registries have them, or tar")
	f.BoolVar(&o.json, "json", false, "print every value as JSON, not medians as Markdown")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.runs < 1 || o.again < 0 || o.layers != layersGzip && o.layers != layersTar {
		return o, errors.New("expected no arguments, --runs of at least 1, --again of at least 0 and --layers gzip or tar; see --help")
	}
	if !o.builds && !o.boots {
		o.builds, o.boots = true, true
	}
	return o, nil
}

func run(ctx context.Context, o options, out io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("building needs root")
	}
	began := time.Now()
	w, done, err := newWorld(ctx, o.cluster)
	if err != nil {
		return err
	}
	defer done()
	r := report{Host: describeHost()}
	// What was measured before something failed took long enough to be told.
	if o.builds {
		tables, buildsErr := measureBuilds(ctx, w, o.runs)
		r.Tables = append(r.Tables, tables...)
		if buildsErr != nil {
			err = fmt.Errorf("builds: %w", buildsErr)
		}
	}
	if o.boots && ctx.Err() == nil {
		tables, bootsErr := measureBoots(ctx, w, o)
		r.Tables = append(r.Tables, tables...)
		if bootsErr != nil {
			err = errors.Join(err, fmt.Errorf("boots: %w", bootsErr))
		}
	}
	w.say("done in %s", time.Since(began).Round(time.Second))
	if len(r.Tables) == 0 {
		return err
	}
	if o.json {
		return errors.Join(err, r.writeJSON(out))
	}
	return errors.Join(err, r.writeMarkdown(out))
}
