package main

import (
	"github.com/spf13/cobra"

	"imgbuild/cluster"
)

func newInitCmd(a *app) *cobra.Command {
	topology := string(cluster.Single)
	cmd := &cobra.Command{
		Use:     "init",
		GroupID: groupDescribe,
		Short:   "Print a commented, valid cluster.yaml to start from",
		Long: `Init prints a cluster.yaml in which every line is explained and nothing has to
be changed for a first try. It writes to standard output and touches no file.

Three topologies:

  single         one master and nothing else: a cluster to try things on
  stacked        three masters, each with an etcd member, behind two load balancers
  external-etcd  three masters and three etcd machines of their own, for large clusters`,
		Example: `  imgbuild init > cluster.yaml
  imgbuild init --topology stacked > cluster.yaml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := cluster.Template(cluster.Topology(topology))
			if err != nil {
				return usageError{err}
			}
			_, err = a.Stdout.Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&topology, "topology", topology, "`single|stacked|external-etcd`")
	return cmd
}
