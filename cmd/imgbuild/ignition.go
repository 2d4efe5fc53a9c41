package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"imgbuild/cluster"
	"imgbuild/ignition"
)

func newIgnitionCmd(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:     "ignition [NODE…]",
		GroupID: groupBuild,
		Short:   "Render the Ignition configs of the machines",
		Long: `Ignition writes one config per machine: NODE.ign. With the image of its role, a
machine needs nothing else to become that node: the config holds its name, its
address and the secrets of its role.

Without names it writes the configs of all nodes of cluster.yaml. Where the
cluster has no secrets yet they are made, see imgbuild secrets.

A config holds private keys: only its owner may read the file. Hand it to one
machine and do not keep it, it can be rendered again at any time.`,
		Example: `  imgbuild ignition --out configs
  imgbuild ignition master-1 worker-1 --out configs`,
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.loadCluster()
			if err != nil {
				return err
			}
			nodes, err := selectNodes(c, names)
			if err != nil {
				return err
			}
			store, err := a.secretStore(c)
			if err != nil {
				return err
			}
			secrets, err := a.secrets(cmd.Context(), store, c, false)
			if err != nil {
				return err
			}
			return a.writeConfigs(cmd.Context(), c, nodes, secrets, out)
		},
	}
	cmd.Flags().StringVar(&out, "out", "out", "write the configs to `DIR`")
	return cmd
}

// writeConfigs renders all configs before it writes the first one.
func (a *app) writeConfigs(ctx context.Context, c *cluster.Cluster, nodes []cluster.Node, s ignition.Secrets, dir string) error {
	configs := make([][]byte, len(nodes))
	for i, n := range nodes {
		var err error
		if configs[i], err = ignition.Render(c, n, s); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory of the configs: %w", err)
	}
	for i, n := range nodes {
		file := filepath.Join(dir, n.Name+".ign")
		if err := ignition.WriteFile(ctx, file, configs[i]); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(a.Stdout, file); err != nil {
			return err
		}
	}
	return nil
}
