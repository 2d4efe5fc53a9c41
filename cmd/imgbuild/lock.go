package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"imgbuild/builder/cache"
	"imgbuild/cluster"
	"imgbuild/roles"
)

func newLockCmd(a *app) *cobra.Command {
	var rolesDir string
	cmd := &cobra.Command{
		Use:     "lock",
		GroupID: groupBuild,
		Short:   "Pin everything that images are made from in imgbuild.lock",
		Long: `Lock resolves the packages of every role in cluster.yaml at the versions that
the mirrors have now, and the components (Kubernetes, containerd, etcd …) at
those of this imgbuild, and writes them with their hashes to imgbuild.lock
beside cluster.yaml. Builds take what it says and nothing else, so keep it under
version control: the same lock gives the same images.

Run it again to take updates. It says what has changed; where nothing has, the
images stay the same.`,
		Example: `  imgbuild lock
  imgbuild lock -c prod/cluster.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.loadCluster()
			if err != nil {
				return err
			}
			s, err := roleSource(rolesDir)
			if err != nil {
				return err
			}
			names, err := a.rolesOf(c, s)
			if err != nil {
				return err
			}
			return lock(cmd.Context(), a, a.Stdout, c, s, names)
		},
	}
	cmd.Flags().StringVar(&rolesDir, "roles", "", "folder `DIR` of own roles, parts and bases, which come before imgbuild's")
	return cmd
}

func lock(ctx context.Context, a *app, out io.Writer, c *cluster.Cluster, s roles.Source, names []string) error {
	old, err := roles.ReadLock(a.lockFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("the old lock cannot be read and is replaced", "error", err)
	}
	l, err := s.Pin(ctx, cache.Cache{Root: a.cacheDir}, c, names, time.Now(), a.log)
	if ctx.Err() != nil {
		return errors.New("interrupted: imgbuild.lock is as it was")
	}
	if err != nil {
		return fmt.Errorf("make imgbuild.lock: %w", err)
	}
	l = l.KeepEpoch(old)
	if err := l.Write(a.lockFile()); err != nil {
		return fmt.Errorf("write imgbuild.lock: %w", err)
	}
	changes := l.Changes(old)
	for _, line := range changes {
		fmt.Fprintln(out, line)
	}
	_, err = fmt.Fprintf(out, "%s: roles %v, %d packages, %d components from source %q, %d changed\n",
		a.lockFile(), names, l.PackageCount(), len(l.Components), "modules", len(changes))
	return err
}

// rolesOf are the roles of a cluster's nodes that can be built, sorted. It says
// which cannot.
func (a *app) rolesOf(c *cluster.Cluster, s roles.Source) ([]string, error) {
	known, err := s.Names()
	if err != nil {
		return nil, err
	}
	var names, others []string
	for _, n := range c.Nodes {
		if slices.Contains(known, string(n.Role)) {
			names = append(names, string(n.Role))
		} else {
			others = append(others, string(n.Role))
		}
	}
	if names = distinct(names); len(names) == 0 {
		return nil, errNoRoles
	}
	if others = distinct(others); len(others) > 0 {
		a.log.Warn("left out: cluster.yaml has nodes of roles that this imgbuild cannot build images of", "roles", others)
	}
	return names, nil
}

// distinct is the list sorted, each once.
func distinct(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
