package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"
)

func newLabServeCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "serve [FLAG…]",
		Short: "Run imgbuild serve in the machines' network",
		Long: `Serve makes the network of the lab and runs imgbuild serve in it, as the only
DHCP server there, until Ctrl-C. Flags are those of imgbuild serve. Machines with
empty disks then install themselves:

  imgbuild lab serve &
  imgbuild lab up --netboot

Only root can do this.`,
		Example:            `  imgbuild lab serve --images out`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, arg := range args {
				if arg == "-h" || arg == "--help" {
					return cmd.Help()
				}
			}
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
			argv := append(enter, program, "--cluster", a.clusterFile, "--cache", a.cacheDir, "--log-format", a.logFormat, fmt.Sprintf("--verbose=%t", a.verbose),
				"serve", "--lab", "--dhcp", "full", "--interface", iface)
			path, err := exec.LookPath(argv[0])
			if err != nil {
				return err
			}
			return syscall.Exec(path, append(argv, args...), os.Environ())
		},
	}
}
