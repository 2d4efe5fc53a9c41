package main

import (
	"github.com/spf13/cobra"

	"imgbuild/cluster"
)

func newSchemaCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		GroupID: groupDescribe,
		Short:   "Print the JSON Schema of cluster.yaml",
		Long: `Schema prints the JSON Schema (draft 2020-12) of cluster.yaml, for editors and
other tools. It describes the shape of the file: keys, types and allowed words.
What depends on several fields at once, such as overlapping subnets, only
imgbuild validate knows.`,
		Example: `  imgbuild schema > cluster.schema.json`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := cluster.Schema()
			if err != nil {
				return err
			}
			_, err = a.Stdout.Write(text)
			return err
		},
	}
}
