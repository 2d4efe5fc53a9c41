package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"imgbuild/builder"
	"imgbuild/cluster"
)

// roleFlags are the flags of imgbuild role.
type roleFlags struct {
	plan, offline bool
	out           string
	rolesDir      string
	formats       []string
}

func newRoleCmd(a *app) *cobra.Command {
	var f roleFlags
	cmd := &cobra.Command{
		Use:     "role ROLE… | all",
		GroupID: groupBuild,
		Short:   "Build the image of a role",
		Long: `Role builds one bootable disk image per role, from what imgbuild.lock pins. An
image holds no name, address or secret of any machine: those come with its
Ignition config at the first boot.

With all it builds the role of every node of cluster.yaml. What roles have in
common, such as the base and Kubernetes, is made once.

It leaves in the output folder, per role: ROLE.raw (or the formats asked for),
ROLE.manifest.json and ROLE.spdx.json. Where they are there already and nothing
has changed, it does nothing. It needs root.

--plan prints everything that would go into the image, as JSON, and builds
nothing. With a full cache, --offline builds without any network.`,
		Example: `  imgbuild role master
  imgbuild role all --out images --format raw,qcow2
  imgbuild role master --plan`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.loadCluster()
			if err != nil {
				return err
			}
			if err := builder.CheckFormats(f.formats); err != nil {
				return usageError{fmt.Errorf("--%w", err)}
			}
			return buildRoles(cmd, a, c, args, f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.plan, "plan", false, "print the plan and build nothing")
	flags.BoolVar(&f.offline, "offline", false, "use no network: everything must be in the cache")
	flags.StringVar(&f.out, "out", "out", "output `DIR`")
	flags.StringVar(&f.rolesDir, "roles", "", "folder `DIR` of own roles, parts and bases, which come before imgbuild's")
	flags.StringSliceVar(&f.formats, "format", builder.Formats()[:1], "`FORMATS` to write: "+strings.Join(builder.Formats(), ", "))
	return cmd
}

func buildRoles(cmd *cobra.Command, a *app, c *cluster.Cluster, names []string, f roleFlags) error {
	if slices.Equal(names, []string{"all"}) {
		s, err := roleSource(f.rolesDir)
		if err != nil {
			return err
		}
		if names, err = a.rolesOf(c, s); err != nil {
			return err
		}
	}
	var plans []builder.Plan
	for _, name := range names {
		p, err := a.plan(c, name, f.rolesDir)
		if err != nil {
			return err
		}
		if f.plan {
			if err := printJSON(a, p); err != nil {
				return err
			}
		}
		plans = append(plans, p)
	}
	if f.plan {
		return nil
	}
	return buildPlans(cmd.Context(), a, a.Stdout, plans, f)
}

// buildPlans builds the images of the plans and says on out what it made.
func buildPlans(ctx context.Context, a *app, out io.Writer, plans []builder.Plan, f roleFlags) error {
	// Modes of what is made must not depend on who builds.
	defer unix.Umask(unix.Umask(0o022))
	bar := newProgress(a.Stderr)
	defer bar.end()
	b, err := a.builder(bar, f.offline)
	if err != nil {
		return err
	}
	return buildAll(plans, func(p builder.Plan, gathered func()) error {
		return buildRole(ctx, out, bar, b, p, f, gathered)
	})
}

// buildAll builds the images, two at a time: the next one is begun when all is
// gathered that goes into the last one. After a failure it begins no other, but
// ends what it has begun.
func buildAll(plans []builder.Plan, build func(p builder.Plan, gathered func()) error) error {
	var all sync.WaitGroup
	var failed atomic.Bool
	failures := make([]error, len(plans))
	places := make(chan struct{}, 2)
	for i, p := range plans {
		places <- struct{}{}
		if failed.Load() {
			break
		}
		next := make(chan struct{})
		gathered := sync.OnceFunc(func() { close(next) })
		all.Go(func() {
			defer func() { <-places }()
			defer gathered()
			if failures[i] = build(p, gathered); failures[i] != nil {
				failed.Store(true)
			}
		})
		<-next
	}
	all.Wait()
	return errors.Join(failures...)
}

func buildRole(ctx context.Context, out io.Writer, bar *progress, b builder.Builder, p builder.Plan, f roleFlags, gathered func()) error {
	start := time.Now()
	b.Gathered = gathered
	b.Step = func(n, of int, name string) { bar.step(n, of, p.Role+": "+name) }
	r, err := b.Build(ctx, p, f.out, f.formats)
	if err != nil {
		return err
	}
	bar.end()
	for _, file := range r.Manifest.Files {
		said := "nothing to do: it is of this very plan"
		if r.Fresh {
			said = fmt.Sprintf("built in %s", time.Since(start).Round(time.Second))
		}
		if _, err := fmt.Fprintf(out, "%s  %s  root hash %.12s…  %s\n",
			filepath.Join(f.out, file.Name), megabytes(file.Size), r.Manifest.RootHash, said); err != nil {
			return err
		}
	}
	return nil
}

func megabytes(size int64) string { return fmt.Sprintf("%d MiB", size>>20) }

func printJSON(a *app, v any) error {
	e := json.NewEncoder(a.Stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
