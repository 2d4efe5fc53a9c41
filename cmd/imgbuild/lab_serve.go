package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"imgbuild/netboot/dhcp"
)

func newLabServeCmd(a *app) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve [NODE…]",
		Short: "Run imgbuild serve in the machines' network",
		Long: `Serve makes the network of the lab and runs imgbuild serve in it, until Ctrl-C,
as the only DHCP server there, or with --dhcp proxy beside one of yours. Machines
with empty disks then install themselves:

  imgbuild lab serve &
  imgbuild lab up --netboot

Only root can do this.`,
		Example: `  imgbuild lab serve --images out
  imgbuild lab serve worker-1`,
		RunE: func(cmd *cobra.Command, names []string) error {
			l, _, err := openLab(a)
			if err != nil {
				return err
			}
			enter, iface, err := l.Connect(cmd.Context())
			if err != nil {
				return err
			}
			program, err := os.Executable()
			if err != nil {
				return err
			}
			argv := append(enter, program, "serve", "--lab", "--interface", iface, "--cluster", a.clusterFile,
				"--cache", a.cacheDir, "--log-format", a.logFormat, fmt.Sprintf("--verbose=%t", a.verbose))
			cmd.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
				// Its default is not serve's.
				if flag.Changed || flag.Name == "dhcp" {
					argv = append(argv, "--"+flag.Name+"="+flag.Value.String())
				}
			})
			path, err := exec.LookPath(argv[0])
			if err != nil {
				return err
			}
			return syscall.Exec(path, append(argv, names...), os.Environ())
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.dhcp, "dhcp", string(dhcp.Full), "`proxy|full|off`")
	return cmd
}
