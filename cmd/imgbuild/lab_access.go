package main

import (
	"github.com/spf13/cobra"

	"imgbuild/lab"
)

func newLabLogsCmd(a *app) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs NODE",
		Short: "Print the console of a machine",
		Long: `Logs prints what a machine has said on its console since its disk is new, each
line with the seconds since its last power-on.`,
		Example: "  imgbuild lab logs master-1 -f",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, c, err := openLab(a)
			if err != nil {
				return err
			}
			if _, err := selectNodes(c, args); err != nil {
				return err
			}
			return l.Logs(cmd.Context(), a.Stdout, args[0], follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the machine is off")
	return cmd
}

func newLabKubectlCmd(a *app) *cobra.Command {
	var program string
	cmd := &cobra.Command{
		Use:   "kubectl -- ARG…",
		Short: "Run kubectl in the lab's network, as an administrator",
		Long: `Kubectl runs kubectl inside the network of the lab with a certificate made for
this one run. It needs root, as only then the host is part of that network.

It asks the cluster's endpoint, which may be an address that the load balancers
hold. Where none of them is alive, name a master.`,
		Example: `  imgbuild lab kubectl -- get pods -A
  imgbuild lab kubectl -- --server https://10.77.0.11:6443 get nodes`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, c, err := openLab(a)
			if err != nil {
				return err
			}
			if err := l.Reachable(); err != nil {
				return err
			}
			path, err := labKubectl(cmd.Context(), a, program)
			if err != nil {
				return err
			}
			config, err := labKubeconfig(cmd.Context(), a, c)
			if err != nil {
				return err
			}
			return l.Kubectl(cmd.Context(), lab.Kubectl{
				Path: path, Args: args, Kubeconfig: config,
				Stdin: a.Stdin, Stdout: a.Stdout, Stderr: a.Stderr,
			})
		},
	}
	cmd.Flags().StringVar(&program, "kubectl", "", "`PATH` of kubectl (default $IMGBUILD_KUBECTL, else that of imgbuild.lock)")
	return cmd
}
