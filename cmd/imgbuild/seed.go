package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"imgbuild/builder"
	"imgbuild/builder/cache"
	"imgbuild/builder/images"
	"imgbuild/cluster"
	"imgbuild/ignition"
	"imgbuild/seed"
)

// seedFlags are the flags of imgbuild seed.
type seedFlags struct {
	output   string
	verify   bool
	patience time.Duration
}

func newSeedCmd(a *app) *cobra.Command {
	var f seedFlags
	cmd := &cobra.Command{
		Use:     "seed [IMAGE | IMAGE=DIR]…",
		GroupID: groupRun,
		Short:   "Copy container images into the cluster's registry",
		Long: `Seed copies images into the registry that the nodes pull from: those that are
named, or else the cluster's own and those of registry.images in cluster.yaml.
An image UPSTREAM/NAME:TAG becomes HOST/UPSTREAM/NAME:TAG, which is where nodes
look for it when a pod wants it by its own name.

The cluster's own images are made here, from what imgbuild.lock pins, and are
the ones that are baked into the machines. Others are pulled from where their
names say, or taken from an OCI layout in DIR.

It may be interrupted, and so may the registry: what is there already is not sent
again, and a registry that is away is waited for. With several nodes of role
harbor each of them is given everything.

A registry of ours is reached with the password and the CA of the cluster's
secrets, any other with the credentials of docker login.`,
		Example: `  imgbuild seed
  imgbuild seed docker.io/library/busybox:1.37
  imgbuild seed example.com/team/app:1.0=./app-layout --verify`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.output != "text" && f.output != "json" {
				return usageError{fmt.Errorf("--output %s: expected text or json", f.output)}
			}
			c, err := a.loadCluster()
			if err != nil {
				return err
			}
			if c.Registry.Host == "" {
				return usageError{fmt.Errorf("%s has no registry: it wants registry.host, or a node of role harbor", a.clusterFile)}
			}
			return runSeed(cmd.Context(), a, c, args, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "text", "`text|json`")
	flags.BoolVar(&f.verify, "verify", false, "read every image back and compare all digests")
	flags.DurationVar(&f.patience, "timeout", 10*time.Minute, "how long an image waits for a registry that is away, a `TIME` such as 2h")
	return cmd
}

func runSeed(ctx context.Context, a *app, c *cluster.Cluster, args []string, f seedFlags) error {
	bar := newProgress(a.Stderr)
	defer bar.end()
	registries, err := a.registries(ctx, c, bar, f)
	if err != nil {
		return err
	}
	list, done, err := a.seedImages(ctx, bar, c, args)
	if err != nil {
		return err
	}
	defer done()
	var pushed []seed.Pushed
	for i, img := range list {
		for j, r := range registries {
			bar.step(i*len(registries)+j+1, len(list)*len(registries), img.Ref+" to "+r.Host)
			p, err := r.Push(ctx, img, nil)
			if err == nil && f.verify {
				err = r.Verify(ctx, p)
			}
			if ctx.Err() != nil {
				return fmt.Errorf("interrupted at %s: run it again, what has been copied is not sent again", img.Ref)
			}
			if err != nil {
				return err
			}
			pushed = append(pushed, p)
		}
	}
	bar.end()
	if f.output == "json" {
		return printJSON(a, pushed)
	}
	for _, p := range pushed {
		if _, err := fmt.Fprintf(a.Stdout, "%s  %s\n", p.As, p.Digest); err != nil {
			return err
		}
	}
	return nil
}

// registries are where images are copied to: every node of role harbor, which are
// one registry for who pulls but have a storage each, or somebody else's.
func (a *app) registries(ctx context.Context, c *cluster.Cluster, bar *progress, f seedFlags) ([]seed.Registry, error) {
	log, err := a.logTo(bar)
	if err != nil {
		return nil, err
	}
	r := seed.Registry{Host: c.Registry.Host, Name: c.Registry.Host, CA: []byte(c.Registry.CA), Patience: f.patience, Log: log}
	nodes := c.NodesOf(cluster.RoleHarbor)
	if len(nodes) == 0 {
		return []seed.Registry{r}, nil
	}
	store, err := a.secretStore(c)
	if err != nil {
		return nil, err
	}
	secrets, err := store.Open(ctx)
	if err != nil {
		return nil, err
	}
	r.CA, r.User = []byte(secrets.CA.Certificate), ignition.RegistryUser
	r.Harbor = c.Registry.Kind == cluster.RegistryHarbor
	if r.Password, err = ignition.RegistryPassword(secrets); err != nil {
		return nil, err
	}
	var list []seed.Registry
	for _, n := range nodes {
		r.Host = net.JoinHostPort(n.Address, strconv.Itoa(ignition.RegistryPort(c)))
		list = append(list, r)
	}
	return list, nil
}

// seedImages are those that were named, or the cluster's own and registry.images.
// done removes what was made for them.
func (a *app) seedImages(ctx context.Context, bar *progress, c *cluster.Cluster, args []string) (list []seed.Image, done func(), err error) {
	if len(args) > 0 {
		for _, arg := range args {
			ref, dir, _ := strings.Cut(arg, "=")
			list = append(list, seed.Image{Ref: ref, Layout: dir})
		}
		return list, func() {}, nil
	}
	list, done, err = a.ownImages(ctx, bar, c)
	if err != nil {
		return nil, nil, err
	}
	for _, ref := range c.Registry.Images {
		list = append(list, seed.Image{Ref: ref})
	}
	return list, done, nil
}

// ownImages composes every image that is baked into one of the cluster's roles.
func (a *app) ownImages(ctx context.Context, bar *progress, c *cluster.Cluster) (list []seed.Image, done func(), err error) {
	dir, done, err := cache.Cache{Root: a.cacheDir}.Scratch("seed")
	if err != nil {
		return nil, nil, err
	}
	b, err := a.builder(bar, false)
	if err == nil {
		list, err = a.compose(ctx, b, c, dir)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return list, done, nil
}

func (a *app) compose(ctx context.Context, b builder.Builder, c *cluster.Cluster, dir string) ([]seed.Image, error) {
	s, err := roleSource("")
	if err != nil {
		return nil, err
	}
	names, err := a.rolesOf(c, s)
	if err != nil {
		return nil, err
	}
	var list []seed.Image
	for _, name := range names {
		p, err := a.plan(c, name, "")
		if err != nil {
			return nil, err
		}
		// An image that several roles have is made once.
		p.Images = slices.DeleteFunc(slices.Clone(p.Images), func(img images.Image) bool {
			return slices.ContainsFunc(list, func(have seed.Image) bool { return have.Ref == img.Ref })
		})
		if len(p.Images) == 0 {
			continue
		}
		to := filepath.Join(dir, name)
		if err := os.Mkdir(to, 0o755); err != nil {
			return nil, err
		}
		if err := b.Layouts(ctx, p, to); err != nil {
			return nil, fmt.Errorf("make the images of role %s: %w", name, err)
		}
		for i, img := range p.Images {
			list = append(list, seed.Image{Ref: img.Ref, Layout: filepath.Join(to, strconv.Itoa(i))})
		}
	}
	return list, nil
}
