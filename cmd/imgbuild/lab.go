package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"imgbuild/cluster"
	"imgbuild/lab"
)

// labFlags are shared by the verbs of lab that give a machine its power.
type labFlags struct {
	images, configs, rolesDir string
	netboot                   netBootFlag
}

func (f *labFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.images, "images", "out", "`DIR` with one image per role, as imgbuild role leaves it; what it lacks is built")
	cmd.Flags().StringVar(&f.configs, "configs", "", "`DIR` with Ignition configs, as imgbuild ignition leaves them (default: made for this start, in memory)")
	cmd.Flags().Var(&f.netboot, "netboot", "machines have empty disks and start from the network, see imgbuild lab serve: `pxe|http|bios|disk-first`")
	cmd.Flags().Lookup("netboot").NoOptDefVal = string(lab.PXE)
	cmd.Flags().StringVar(&f.rolesDir, "roles", "", "folder `DIR` of own roles, parts and bases, for what is built")
}

// netBootFlag takes one of lab.NetBoots.
type netBootFlag lab.NetBoot

func (f *netBootFlag) String() string { return string(*f) }

func (f *netBootFlag) Type() string { return "string" }

func (f *netBootFlag) Set(text string) error {
	if !slices.Contains(lab.NetBoots(), lab.NetBoot(text)) {
		return fmt.Errorf("expected one of %v", lab.NetBoots())
	}
	*f = netBootFlag(text)
	return nil
}

func newLabCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "lab",
		GroupID: groupRun,
		Short:   "Run the cluster in local QEMU machines",
		Long: `Lab runs the machines of cluster.yaml as local QEMU machines, each with the
image of its role and its own Ignition config, and does what a data centre does:
it gives power and takes it away.

The machines have a network of their own that neither the host nor the outside
is reached from. As root the host has an address in it, in a network namespace
named imgbuild-NAME; otherwise the machines are connected with each other only,
and lab kubectl is not to be had.

KVM is used where the processor has it; without, everything is emulated and
takes about ten times longer. The host needs the packages qemu-system-x86,
qemu-utils, ovmf and iproute2. All state is below the cache's directory lab and
ends with lab down.`,
		Example: `  imgbuild lab up
  imgbuild lab kubectl -- get nodes
  imgbuild lab kill master-1; imgbuild lab start master-1
  imgbuild lab down`,
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = 2
	for _, verb := range []*cobra.Command{
		newLabUpCmd(a),
		newLabStatusCmd(a),
		newLabLogsCmd(a),
		newLabKubectlCmd(a),
		newLabServeCmd(a),
		newLabKillCmd(a),
		newLabStartCmd(a),
		newLabReimageCmd(a),
		newLabDownCmd(a),
		newLabSuperviseCmd(),
	} {
		verb.Args = usageArgs(verb.Args)
		cmd.AddCommand(verb)
	}
	return cmd
}

// openLab is the lab of --cluster.
func openLab(a *app) (*lab.Lab, *cluster.Cluster, error) {
	c, err := a.loadCluster()
	if err != nil {
		return nil, nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	subnet, err := netip.ParsePrefix(c.Network.Subnet)
	if err != nil {
		return nil, nil, err
	}
	l := &lab.Lab{
		Name:       c.Name,
		Dir:        filepath.Join(a.cacheDir, "lab", c.Name),
		Subnet:     subnet,
		Supervisor: []string{program, "--cache", a.cacheDir, "lab", "supervise"},
	}
	// A host name, or nothing, is no address of this network.
	l.Gateway, _ = netip.ParseAddr(c.Network.Gateway)
	taken := []string{c.LoadBalancer.Address}
	for _, n := range c.Nodes {
		taken = append(taken, n.Address)
	}
	for _, text := range taken {
		if address, err := netip.ParseAddr(text); err == nil {
			l.Taken = append(l.Taken, address)
		}
	}
	return l, c, nil
}

// selectNodes are the named nodes in the order of the names, each once, or all.
func selectNodes(c *cluster.Cluster, names []string) ([]cluster.Node, error) {
	if len(names) == 0 {
		return c.Nodes, nil
	}
	var nodes []cluster.Node
	for i, name := range names {
		n, ok := c.Node(name)
		if !ok {
			var known []string
			for _, n := range c.Nodes {
				known = append(known, n.Name)
			}
			return nil, usageError{fmt.Errorf("no node is named %q: the nodes are %s", name, strings.Join(known, ", "))}
		}
		if !slices.Contains(names[:i], name) {
			nodes = append(nodes, n)
		}
	}
	return nodes, nil
}

// identities are the nodes of the cluster without what a start needs.
func identities(c *cluster.Cluster) []lab.Node {
	var nodes []lab.Node
	for _, n := range c.Nodes {
		nodes = append(nodes, lab.Node{Name: n.Name, Role: string(n.Role)})
	}
	return nodes
}

// machines are the nodes with everything that they are started with.
func machines(ctx context.Context, a *app, c *cluster.Cluster, nodes []cluster.Node, f labFlags) ([]lab.Node, error) {
	images, configs, err := labSystems(ctx, a, c, nodes, f)
	if err != nil {
		return nil, err
	}
	c, nodes = labDisks(c, nodes)
	var machines []lab.Node
	for _, n := range nodes {
		m := lab.Node{
			Name: n.Name, Role: string(n.Role), MAC: n.MAC,
			Image: images[n.Role], Ignition: configs[n.Name], NetBoot: lab.NetBoot(f.netboot),
			CPUs:      c.Lab.CPUs,
			MemoryMiB: int64(c.Lab.Memory / cluster.MiB),
			DiskBytes: int64(c.Lab.Disk),
		}
		m.Raw = labRawDisks(n)
		if n.CPUs != 0 {
			m.CPUs = n.CPUs
		}
		if n.Memory != 0 {
			m.MemoryMiB = int64(n.Memory / cluster.MiB)
		}
		if n.Disk != 0 {
			m.DiskBytes = int64(n.Disk)
		}
		machines = append(machines, m)
	}
	if slices.ContainsFunc(machines, func(m lab.Node) bool { return m.CPUs > 1 }) {
		if fault := lab.EmulatorFault(ctx); fault != "" {
			a.log.Warn(fault)
		}
	}
	return machines, nil
}
