package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"imgbuild/lab"
)

func newLabStatusCmd(a *app) *cobra.Command {
	var output string
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what each machine is doing",
		Long: `Status shows the power of each machine, what it is doing, what it waits for, and
when it got there, in seconds since its power-on. All of it is read from the
consoles. With -o json it prints one object; a time that was not reached is null:

  {"nodes": [{"name": "master-1", "role": "master", "phase": "init", "ready": false,
              "waitingFor": "", "power": "on",
              "seconds": {"kernel": 5.1, "initramfs": 12.6, "ignition": 18.9, "agent": 30.4,
                          "api": null, "nodeReady": null, "serviceTest": null, "ready": null}}],
   "serviceTest": {"passed": false, "checks": [{"name", "passed", "detail"}]}}

A node that has given up also has "stopped", the reason. Status exits with 0
whatever the nodes do.

With --watch it goes on until every node is Ready, or until Ctrl-C. A terminal
shows one table that changes in its place; elsewhere each change of a node is a
line.`,
		Example: `  imgbuild lab status --watch
  imgbuild lab status -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("--output %s: expected text or json", output)}
			}
			if watch && output == "json" {
				return usageError{errors.New("--watch is for people: it goes with --output text only")}
			}
			l, c, err := openLab(a)
			if err != nil {
				return err
			}
			if watch {
				return watchLab(cmd.Context(), a, l, identities(c))
			}
			status, err := l.Status(identities(c))
			if err != nil {
				return err
			}
			if output == "json" {
				encoder := json.NewEncoder(a.Stdout)
				encoder.SetEscapeHTML(false)
				encoder.SetIndent("", "  ")
				return encoder.Encode(status)
			}
			return writeLabStatus(a.Stdout, status)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`text|json`")
	cmd.Flags().BoolVar(&watch, "watch", false, "go on until every node is Ready")
	return cmd
}

func writeLabStatus(w io.Writer, status lab.Status) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tROLE\tPOWER\tREADY\tPHASE\tAGENT\tAPI\tREADY AT\tWAITING FOR")
	for _, n := range status.Nodes {
		waiting := n.WaitingFor
		if n.Stopped != "" {
			waiting = "nothing: " + n.Stopped
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Role, n.Power, yesNo(n.Ready), orDash(n.Phase),
			seconds(n.Seconds.Agent), seconds(n.Seconds.API), seconds(n.Seconds.Ready), orDash(waiting))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, c := range status.ServiceTest.Checks {
		if _, err := fmt.Fprintf(w, "check %s: %s %s\n", c.Name, passed(c.Passed), c.Detail); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "service test: %s\n", passed(status.ServiceTest.Passed))
	return err
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func passed(b bool) string {
	if b {
		return "passed"
	}
	return "not passed"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func seconds(s *float64) string {
	if s == nil {
		return "-"
	}
	return strconv.FormatFloat(*s, 'f', 1, 64) + "s"
}
