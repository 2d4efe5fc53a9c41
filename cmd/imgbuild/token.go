package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"imgbuild/ignition"
)

func newTokenCmd(a *app) *cobra.Command {
	var valid time.Duration
	cmd := &cobra.Command{
		Use:     "token NODE",
		GroupID: groupRun,
		Short:   "Print the token that lets a new node join, as a manifest",
		Long: `Token prints a Secret that makes the token of a node known to the cluster. Apply
it, and the node can join for as long as the token is valid.

Masters do this by themselves for every node that was in cluster.yaml when their
configs were rendered. It is needed for a node that is added later, since
masters that run do not know its name: add it to cluster.yaml, render its config
with imgbuild ignition, apply its token, and give it its power, in any order.

The token is a secret: whoever has it can join the cluster as a worker.`,
		Example: `  imgbuild token worker-9 | kubectl apply -f -
  imgbuild token worker-9 --valid 2h | imgbuild lab kubectl -- apply -f -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if valid <= 0 {
				return usageError{fmt.Errorf("--valid %s: expected a duration such as 24h", valid)}
			}
			c, err := a.loadCluster()
			if err != nil {
				return err
			}
			nodes, err := selectNodes(c, args)
			if err != nil {
				return err
			}
			n := nodes[0]
			if !ignition.Joins(n.Role) {
				return usageError{fmt.Errorf("%s has the role %s, which joins without a token: its Ignition config has all that it needs", n.Name, n.Role)}
			}
			store, err := a.secretStore(c)
			if err != nil {
				return err
			}
			secrets, err := store.Open(cmd.Context())
			if err != nil {
				return err
			}
			manifest, err := ignition.TokenManifest(c, n, secrets, time.Now().Add(valid))
			if err != nil {
				return err
			}
			_, err = a.Stdout.Write(manifest)
			return err
		},
	}
	cmd.Flags().DurationVar(&valid, "valid", 24*time.Hour, "how long the token lets the node join, a `TIME` such as 2h")
	return cmd
}
