package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"imgbuild/cluster"
	"imgbuild/roles"
)

func newValidateCmd(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "validate",
		GroupID: groupDescribe,
		Short:   "Check a cluster.yaml completely",
		Long: `Validate reads cluster.yaml and reports everything that is wrong with it at
once, each with its line, its field, and what was expected. Warnings are advice:
they do not make the file invalid.

With -o json it prints one object, whether the file is valid or not:

  {"valid": false,
   "errors": [{"file": "cluster.yaml", "line": 12, "field": "nodes[2].address", "message": "..."}],
   "warnings": []}

It exits with 0 when the file is valid and with 2 when it is not.`,
		Example: `  imgbuild validate
  imgbuild validate -c other.yaml -o json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			switch output {
			case "json":
				return validateJSON(a)
			case "text":
				return validateText(a)
			}
			return usageError{fmt.Errorf("--output %s: expected text or json", output)}
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`text|json`")
	return cmd
}

func validateText(a *app) error {
	c, err := a.loadCluster(unbuiltBases)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Stdout, "%s is valid: cluster %s, %s, %d node(s)\n",
		a.clusterFile, c.Name, c.Topology, len(c.Nodes))
	return err
}

func validateJSON(a *app) error {
	_, problems := cluster.Load(a.clusterFile, unbuiltBases)
	if err := writeValidation(a.Stdout, problems); err != nil {
		return err
	}
	if n := len(problems.Errors()); n > 0 {
		return usageError{fmt.Errorf("%s is not valid: %d error(s)", a.clusterFile, n)}
	}
	return nil
}

// unbuiltBases warns of bases that a cluster.yaml may name and that no image can
// be made of yet.
func unbuiltBases(c *cluster.Cluster) cluster.Problems {
	var problems cluster.Problems
	built := roles.Source{}.Bases()
	warned := map[string]bool{}
	for _, n := range c.Nodes {
		base, field := c.BaseOf(n.Role), "base"
		if c.Roles[n.Role].Base != "" {
			field = "roles." + string(n.Role) + ".base"
		}
		if warned[field] || slices.Contains(built, base) || !slices.Contains(cluster.Bases(), base) {
			continue
		}
		warned[field] = true
		problems = append(problems, cluster.Problem{Field: field, Severity: cluster.SeverityWarning, Message: fmt.Sprintf(
			"this imgbuild cannot build images of %s yet: it has %s (others need a bases/%s.yaml in a folder of own roles)",
			base, strings.Join(built, ", "), base)})
	}
	return problems
}

// writeValidation prints the object that scripts rely on. The lists are never
// null.
func writeValidation(w io.Writer, problems cluster.Problems) error {
	result := struct {
		Valid    bool             `json:"valid"`
		Errors   cluster.Problems `json:"errors"`
		Warnings cluster.Problems `json:"warnings"`
	}{
		Valid:    problems.Err() == nil,
		Errors:   problems.Errors(),
		Warnings: problems.Warnings(),
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(result)
}
