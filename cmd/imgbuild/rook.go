package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"imgbuild/cluster"
	"imgbuild/cluster/node"
	"imgbuild/storage"
)

func newRookCmd(a *app) *cobra.Command {
	var clusterOnly bool
	cmd := &cobra.Command{
		Use:     "rook",
		GroupID: groupRun,
		Short:   "Print what makes Ceph of the storage nodes",
		Long: `Rook prints the Kubernetes objects that make a Ceph cluster of the nodes of role
rook, with exactly their disks as cluster.yaml names them: Rook's own objects of
the release that this imgbuild knows, its operator, and a CephCluster.

With rook.apply: true in cluster.yaml the first master applies them by itself, and
nothing needs to be done. Without it nothing happens until you apply them. They
are too large for kubectl's client-side apply.

Disks that are not empty are not used, neither by Rook nor by anything of ours.`,
		Example: `  imgbuild rook | kubectl apply --server-side -f -
  imgbuild rook --cluster-only > ceph-cluster.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.loadCluster()
			if err != nil {
				return err
			}
			if len(c.NodesOf(cluster.RoleRook)) == 0 {
				return usageError{fmt.Errorf("%s has no node of role rook", a.clusterFile)}
			}
			if !clusterOnly {
				if err := printOperator(cmd.Context(), a, c); err != nil {
					return err
				}
			}
			text, err := storage.Manifest(c)
			if err != nil {
				return err
			}
			_, err = a.Stdout.Write(text)
			return err
		},
	}
	cmd.Flags().BoolVar(&clusterOnly, "cluster-only", false, "print the CephCluster alone")
	return cmd
}

// printOperator prints what a master that may start Rook has of it in its image.
func printOperator(ctx context.Context, a *app, c *cluster.Cluster) error {
	applying := *c
	// Only its files are wanted: with no images to bake, none has to be in the lock.
	applying.Rook.Apply, applying.Rook.Images = true, cluster.RookRegistry
	p, err := a.plan(&applying, string(cluster.RoleMaster), "")
	if err != nil {
		return err
	}
	for _, f := range p.Files {
		if path.Dir(f.Path) != node.ImageStorageDir {
			continue
		}
		if f.From == "" {
			_, err = a.Stdout.Write(f.Data)
		} else {
			err = printFromComponent(ctx, a, f.From)
		}
		if err == nil {
			_, err = io.WriteString(a.Stdout, "---\n")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// printFromComponent prints NAME/FILE of a component.
func printFromComponent(ctx context.Context, a *app, from string) error {
	name, file, _ := strings.Cut(from, "/")
	dir, err := a.component(ctx, name)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return fmt.Errorf("component %s: %w", name, err)
	}
	_, err = a.Stdout.Write(data)
	return err
}
