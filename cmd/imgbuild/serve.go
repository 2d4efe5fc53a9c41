package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"imgbuild/builder/cache"
	"imgbuild/cluster"
	"imgbuild/ignition"
	"imgbuild/netboot"
	"imgbuild/netboot/artefact"
	"imgbuild/netboot/dhcp"
	"imgbuild/netboot/state"
)

// serveFlags are those of serve.
type serveFlags struct {
	iface, address    string
	dhcp, images      string
	ipxe, tree        string
	httpPort, tlsPort int
	lab               bool
}

// add are those that lab serve has, too.
func (f *serveFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.address, "address", "", "our `ADDRESS` on it (default: the one in network.subnet)")
	cmd.Flags().StringVar(&f.images, "images", "out", "`DIR` with one image per role, as imgbuild role leaves it")
	cmd.Flags().StringVar(&f.ipxe, "ipxe", ipxeDir, "`DIR` with iPXE's snponly.efi and undionly.kpxe")
	cmd.Flags().IntVar(&f.httpPort, "http-port", 8080, "`PORT` for what is no secret")
	cmd.Flags().IntVar(&f.tlsPort, "https-port", 8443, "`PORT` for orders, claims, status and the page")
	cmd.Flags().StringVar(&f.tree, "tree", "", "also write iPXE, the images, and scripts that lead here, to `DIR` for a web server")
}

func newServeCmd(a *app) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:     "serve [NODE…]",
		GroupID: groupRun,
		Short:   "Install machines over the network",
		Long: `Serve answers machines that start from the network: one of cluster.yaml, known by
its MAC, gets the installer, which puts the image of its role onto its disk,
checks it against the manifest that this server has signed, and starts from it.
The node then claims its secrets, once, and joins the cluster. A machine that
cluster.yaml does not name is listed and left alone. With names it installs these nodes only.

What is installed is remembered: a machine that is turned on again starts from its
disk, until imgbuild reinstall names it. All of that is in the folder
NAME.serve beside cluster.yaml, and survives the server.

It stands beside a DHCP server that is there already (--dhcp proxy), gives the
machines of cluster.yaml their addresses itself (--dhcp full), or leaves DHCP to
you (--dhcp off). It listens on the named interface and no other, and must be
root for that. iPXE comes from Debian's package ipxe.

The secrets are opened once, at the start, and stay in memory.`,
		Example: `  imgbuild serve --interface eth1
  imgbuild serve worker-4 worker-5 --interface eth1 --dhcp full --images /srv/images`,
		RunE: func(cmd *cobra.Command, names []string) error {
			return serve(cmd.Context(), a, f, names)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.iface, "interface", "", "the network `INTERFACE` that the machines are behind (required)")
	cmd.Flags().StringVar(&f.dhcp, "dhcp", string(dhcp.Proxy), "`proxy|full|off`")
	cmd.Flags().BoolVar(&f.lab, "lab", false, "the machines are those of imgbuild lab")
	_ = cmd.Flags().MarkHidden("lab")
	return cmd
}

func serve(ctx context.Context, a *app, f serveFlags, names []string) (err error) {
	c, err := a.loadCluster()
	if err != nil {
		return err
	}
	nodes, err := selectNodes(c, names)
	if err != nil {
		return err
	}
	if !slices.Contains(dhcp.Modes(), dhcp.Mode(f.dhcp)) {
		return usageError{fmt.Errorf("--dhcp %s: expected proxy, full or off", f.dhcp)}
	}
	if f.iface == "" {
		return usageError{errors.New("--interface is required: name the one that the machines are behind")}
	}
	address, err := ownAddress(c, f)
	if err != nil {
		return err
	}
	if f.lab {
		c, _ = labDisks(c, nil)
	}
	store, err := a.secretStore(c)
	if err != nil {
		return err
	}
	secrets, err := a.secrets(ctx, store, c, false)
	if err != nil {
		return err
	}
	sets, err := a.artefacts(ctx, nodes, f.images)
	if err != nil {
		return err
	}
	dir := a.serveDir(c)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	kept, err := state.Open(filepath.Join(dir, "state.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	token, err := pageToken(ctx, filepath.Join(dir, "token"))
	if err != nil {
		return err
	}
	var served []string
	for _, n := range nodes {
		served = append(served, n.Name)
	}
	server, err := netboot.New(netboot.Options{
		Cluster: c, Secrets: secrets, Nodes: served, Sets: sets, Store: kept, Interface: f.iface, Address: address,
		HTTPPort: f.httpPort, TLSPort: f.tlsPort, DHCP: dhcp.Mode(f.dhcp), Loaders: f.ipxe,
		Socket: filepath.Join(dir, socketName), Token: token, Log: a.log,
	})
	if err != nil {
		return err
	}
	if f.tree != "" {
		t := netboot.Tree{Cluster: c, Nodes: nodes, Secrets: secrets, Sets: sets, Loaders: f.ipxe, Server: server.PublicURL()}
		if err := t.Write(ctx, f.tree); err != nil {
			return fmt.Errorf("write %s: %w", f.tree, err)
		}
	}
	return server.Run(ctx, func() {
		fmt.Fprintf(a.Stdout, "serving %d machines of %s on %s (DHCP: %s)\nthe page: %s\n", len(nodes), c.Name, f.iface, f.dhcp, server.PageURL())
	})
}

// socketName is the socket that commands on this machine use, in the folder of the
// server's state.
const socketName = "serve.sock"

// serveDir is where a server remembers, beside cluster.yaml.
func (a *app) serveDir(c *cluster.Cluster) string {
	return filepath.Join(filepath.Dir(a.clusterFile), c.Name+".serve")
}

// ownAddress is the address of --address, or the interface's only one in the nodes'
// subnet.
func ownAddress(c *cluster.Cluster, f serveFlags) (netip.Addr, error) {
	subnet, err := netip.ParsePrefix(c.Network.Subnet)
	if err != nil {
		return netip.Addr{}, err
	}
	iface, err := net.InterfaceByName(f.iface)
	if err != nil {
		return netip.Addr{}, usageError{fmt.Errorf("--interface %s: %w: ip link shows them", f.iface, err)}
	}
	list, err := iface.Addrs()
	if err != nil {
		return netip.Addr{}, err
	}
	var found []netip.Addr
	for _, item := range list {
		p, err := netip.ParsePrefix(item.String())
		if err == nil && (f.address == p.Addr().String() || f.address == "" && subnet.Contains(p.Addr())) {
			found = append(found, p.Addr())
		}
	}
	switch {
	case len(found) > 0:
		return found[0], nil
	case f.address != "":
		return netip.Addr{}, usageError{fmt.Errorf("--address %s is not one of %s", f.address, f.iface)}
	}
	return netip.Addr{}, usageError{fmt.Errorf("%s has no address in network.subnet, %s: give it one, or name one with --address", f.iface, subnet)}
}

// artefacts makes what is served of the images of the nodes' roles.
func (a *app) artefacts(ctx context.Context, nodes []cluster.Node, dir string) (map[cluster.Role]artefact.Set, error) {
	sets := map[cluster.Role]artefact.Set{}
	p := newProgress(a.Stderr)
	defer p.end()
	for _, n := range nodes {
		if _, ok := sets[n.Role]; ok {
			continue
		}
		told := int64(-1)
		set, err := artefact.Make(ctx, cache.Cache{Root: a.cacheDir}, dir, string(n.Role), func(done, total int64) {
			if tenth := done * 10 / total; tenth != told {
				told = tenth
				p.step(int(tenth), 10, "compress the image of role "+string(n.Role))
			}
		})
		if err != nil {
			return nil, err
		}
		sets[n.Role] = set
	}
	return sets, nil
}

// pageToken is the one that lets people see the page, kept so that who has it open
// is not thrown out when the server starts again.
func pageToken(ctx context.Context, file string) (string, error) {
	data, err := os.ReadFile(file)
	if token := strings.TrimSpace(string(data)); err == nil && len(token) == 32 {
		return token, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	token := netboot.NewNonce()
	return token, ignition.WriteFile(ctx, file, []byte(token+"\n"))
}
