package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"imgbuild/lab"
)

func newLabKillCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "kill NODE",
		Short:   "Cut the power of a machine",
		Long:    "Kill ends a machine at once, as if its plug were pulled. Its disk stays.",
		Example: "  imgbuild lab kill master-1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, c, err := openLab(a)
			if err != nil {
				return err
			}
			if _, err := selectNodes(c, args); err != nil {
				return err
			}
			was, err := l.Kill(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return say(a, args[0], was, "is off", "was off already")
		},
	}
}

func newLabStartCmd(a *app) *cobra.Command {
	var flags labFlags
	var clock time.Duration
	cmd := &cobra.Command{
		Use:   "start NODE",
		Short: "Give a machine its power back",
		Long: `Start gives a machine its power, with the disk that it had. It returns as soon
as the machine runs; imgbuild lab up waits for the cluster.

With --clock the machine's clock is wrong by that much, until its power is cut.`,
		Example: `  imgbuild lab start master-1
  imgbuild lab start worker-1 --clock -1h`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, node, err := oneMachine(cmd.Context(), a, args, flags)
			if err != nil {
				return err
			}
			node.Clock = clock
			started, err := l.Start(cmd.Context(), node)
			if err != nil {
				return err
			}
			return say(a, args[0], started, "is on", "was on already")
		},
	}
	flags.add(cmd)
	cmd.Flags().DurationVar(&clock, "clock", 0, "how far its clock is ahead, such as 48h, or behind, such as -1h: an `OFFSET`")
	return cmd
}

func newLabReimageCmd(a *app) *cobra.Command {
	var flags labFlags
	cmd := &cobra.Command{
		Use:   "reimage NODE",
		Short: "Start a machine on a fresh disk",
		Long: `Reimage cuts the power of a machine, throws its disk, firmware variables and
console away, and starts it with a fresh copy of its role's image.`,
		Example: "  imgbuild lab reimage worker-1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, node, err := oneMachine(cmd.Context(), a, args, flags)
			if err != nil {
				return err
			}
			if err := l.Reimage(cmd.Context(), node); err != nil {
				return err
			}
			return say(a, args[0], true, "is on, with a fresh disk", "")
		},
	}
	flags.add(cmd)
	return cmd
}

func newLabDownCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the machines and remove everything of them",
		Long: `Down cuts the power of every machine of the lab and removes disks, consoles and
the network. Images and secrets stay.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, c, err := openLab(a)
			if err != nil {
				return err
			}
			if err := l.Down(cmd.Context()); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Stdout, "the lab %s is down\n", c.Name)
			return err
		},
	}
}

// newLabSuperviseCmd is what the lab starts for each machine, not the user.
func newLabSuperviseCmd() *cobra.Command {
	return &cobra.Command{
		Use:    "supervise DIR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return lab.Supervise(cmd.Context(), args[0], cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

// oneMachine is the lab and the machine named in args.
func oneMachine(ctx context.Context, a *app, args []string, flags labFlags) (*lab.Lab, lab.Node, error) {
	l, c, err := openLab(a)
	if err != nil {
		return nil, lab.Node{}, err
	}
	nodes, err := selectNodes(c, args)
	if err != nil {
		return nil, lab.Node{}, err
	}
	m, err := machines(ctx, a, c, nodes, flags)
	if err != nil {
		return nil, lab.Node{}, err
	}
	return l, m[0], nil
}

func say(a *app, node string, changed bool, yes, no string) error {
	text := no
	if changed {
		text = yes
	}
	_, err := fmt.Fprintln(a.Stdout, node, text)
	return err
}
