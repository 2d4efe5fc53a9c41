package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"imgbuild/cluster"
	"imgbuild/lab"
)

func newLabUpCmd(a *app) *cobra.Command {
	var (
		flags   labFlags
		names   []string
		timeout time.Duration
		keep    bool
	)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the machines and wait for the cluster",
		Long: `Up starts the machines that are off and returns when every node is Ready and the
service test of the cluster has passed. Machines that are on are left alone, so
up may be run again, also after Ctrl-C, which leaves the machines running.

It fails at once when a node stops by itself or loses its power, and says why.
After a failure the machines stay as they are, unless --keep=false.

With --nodes it starts and waits for these only, in the order given; the service
test is waited for when that is every node of the cluster. Without KVM the next
machine gets its power when the agent of the last one runs.`,
		Example: `  imgbuild lab up
  imgbuild lab up --nodes worker-1,lb-1,master-1 --timeout 10m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, c, err := openLab(a)
			if err != nil {
				return err
			}
			nodes, err := selectNodes(c, names)
			if err != nil {
				return err
			}
			err = labUp(cmd.Context(), a, l, c, nodes, flags, timeout)
			if err != nil && !keep && cmd.Context().Err() == nil {
				return errors.Join(err, l.Down(cmd.Context()))
			}
			return err
		},
	}
	flags.add(cmd)
	cmd.Flags().StringSliceVar(&names, "nodes", nil, "only these `NODES`, separated by commas, in this order")
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Minute, "give up after this `TIME`")
	cmd.Flags().BoolVar(&keep, "keep", true, "keep the machines after a failure")
	return cmd
}

func labUp(ctx context.Context, a *app, l *lab.Lab, c *cluster.Cluster, nodes []cluster.Node, flags labFlags, timeout time.Duration) error {
	machines, err := machines(ctx, a, c, nodes, flags)
	if err != nil {
		return err
	}
	width := 0
	for _, m := range machines {
		width = max(width, len(m.Name))
	}
	began := time.Now()
	whole := len(nodes) == len(c.Nodes)
	limited, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done in %s", timeout))
	defer cancel()
	err = l.Up(limited, machines, lab.UpOptions{
		ServiceTest: whole,
		Event: func(node string, e lab.Event) {
			fmt.Fprintf(a.Stderr, "%-*s  %+.1fs  %s\n", width, node, e.Seconds, e.Text)
		},
		Note: func(text string) { fmt.Fprintln(a.Stderr, text) },
	})
	if ctx.Err() != nil {
		return errors.New("interrupted: the machines keep running; imgbuild lab up waits again, imgbuild lab down stops them")
	}
	if err != nil {
		return fmt.Errorf("lab up: %w", err)
	}
	passed := ""
	if whole {
		passed = ", the service test has passed"
	}
	_, err = fmt.Fprintf(a.Stdout, "cluster %s is up: %d node(s) ready%s (%s)\n", c.Name, len(nodes), passed, time.Since(began).Round(100*time.Millisecond))
	return err
}
