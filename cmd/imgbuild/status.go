package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"imgbuild/cluster"
	"imgbuild/netboot"
	"imgbuild/netboot/state"
)

func newStatusCmd(a *app) *cobra.Command {
	var output string
	var watch bool
	cmd := &cobra.Command{
		Use:     "status",
		GroupID: groupRun,
		Short:   "Show how far the machines of imgbuild serve are",
		Long: `Status asks the imgbuild serve that runs on this machine for the same cluster.yaml.
A machine is waiting, discovered, installing, installed, claimed (it has its
secrets and is on its way into the cluster) or ready.

With --watch it goes on until every node is ready, or until Ctrl-C: one table that
changes in its place on a terminal, a line for each change elsewhere.`,
		Example: `  imgbuild status --watch
  imgbuild status -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("--output %s: expected text or json", output)}
			}
			if watch && output == "json" {
				return usageError{errors.New("--watch is for people: it goes with --output text only")}
			}
			c, err := a.loadCluster()
			if err != nil {
				return err
			}
			if watch {
				return a.watchServer(cmd.Context(), c)
			}
			data, err := a.askServer(cmd.Context(), c, http.MethodGet, "/v1/status")
			if err != nil {
				return err
			}
			if output == "json" {
				var pretty bytes.Buffer
				if err := json.Indent(&pretty, data, "", "  "); err != nil {
					return err
				}
				_, err = pretty.WriteTo(a.Stdout)
				return err
			}
			var v netboot.View
			if err := json.Unmarshal(data, &v); err != nil {
				return err
			}
			return writeView(a.Stdout, v)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`text|json`")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on until every node is ready")
	return cmd
}

// watchServer shows every change until all nodes are ready.
func (a *app) watchServer(ctx context.Context, c *cluster.Cluster) error {
	show := (&viewChanges{w: a.Stdout}).show
	if f, ok := a.Stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s := &screen{w: f, size: func() (int, int) { return terminalSize(f) }}
		show = func(v netboot.View) error {
			var text bytes.Buffer
			if err := writeView(&text, v); err != nil {
				return err
			}
			return s.draw(text.String())
		}
	}
	response, err := a.callServer(ctx, c, http.MethodGet, "/v1/events")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for {
		line, err := lines.ReadString('\n')
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return errors.New("the server has ended: start it again, it remembers")
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		var v netboot.View
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			return err
		}
		if err := show(v); err != nil {
			return err
		}
		if v.Ready == len(v.Nodes) {
			return nil
		}
	}
}

// viewChanges writes a line for each node that does something else than before.
type viewChanges struct {
	w    io.Writer
	last map[string]string
}

func (c *viewChanges) show(v netboot.View) error {
	if c.last == nil {
		c.last = map[string]string{}
	}
	for _, n := range v.Nodes {
		line := fmt.Sprintf("%s  %s  %s", n.Name, n.Stage, doing(n))
		// A percentage is no news.
		key := strings.Join([]string{string(n.Stage), n.Step, n.Phase, n.Line}, "\n")
		if c.last[n.Name] == key {
			continue
		}
		c.last[n.Name] = key
		if _, err := fmt.Fprintln(c.w, strings.TrimSpace(line)); err != nil {
			return err
		}
	}
	return nil
}

func writeView(w io.Writer, v netboot.View) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tROLE\tSTATE\tFOR\tLAST HEARD\tWHAT IT DOES")
	for _, n := range v.Nodes {
		heard := "-"
		if n.Seen != nil {
			heard = age(v.Now.Sub(*n.Seen)) + " ago"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Role, n.Stage, age(v.Now.Sub(n.Since)), heard, orDash(doing(n)))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, n := range v.Nodes {
		for _, alarm := range n.Alarms {
			if _, err := fmt.Fprintf(w, "alarm: %s %s: %s\n", alarm.At.Format(time.RFC3339), n.Name, alarm.Text); err != nil {
				return err
			}
		}
	}
	for _, s := range v.Strangers {
		if _, err := fmt.Fprintf(w, "not in cluster.yaml: %s asked %s, last at %s\n", s.MAC, s.Asked, s.Last.Format(time.RFC3339)); err != nil {
			return err
		}
	}
	return nil
}

// doing is what a machine does in words.
func doing(n netboot.NodeView) string {
	var parts []string
	if n.Stage == state.Installing && n.Total > 0 {
		parts = append(parts, fmt.Sprintf("%d %% of %.0f MB", 100*n.Bytes/n.Total, float64(n.Total)/1e6))
	}
	if n.Phase != "" {
		parts = append(parts, "phase "+n.Phase)
	}
	if n.Line != "" {
		parts = append(parts, n.Line)
	}
	return strings.Join(parts, ": ")
}

// age is a time span for a table.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(max(d, 0).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
