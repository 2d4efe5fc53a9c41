package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"imgbuild/cluster"
	"imgbuild/ignition"
	"imgbuild/netboot"
)

func newIgnitionCmd(a *app) *cobra.Command {
	var out, cloud string
	var claim bool
	var tree treeFlags
	cmd := &cobra.Command{
		Use:     "ignition [NODE…]",
		GroupID: groupBuild,
		Short:   "Render the Ignition configs of the machines",
		Long: `Ignition writes one config per machine: NODE.ign. With the image of its role, a
machine needs nothing else to become that node: the config holds its name, its
address and the secrets of its role.

Without names it writes the configs of all nodes of cluster.yaml. Where the
cluster has no secrets yet they are made, see imgbuild secrets.

A config holds private keys: only its owner may read the file. Hand it to one
machine and do not keep it, it can be rendered again at any time.

A cloud hands a config over as user data, of which it takes only so much: --cloud
checks that. With --claim a config holds no secrets; the node claims them from the
imgbuild serve that runs on this machine, which must be reachable for it.

With --tree it writes what a web server needs to install these machines over the
network: iPXE, a script for each MAC, the images, and an order for each node with
its config in it. Nobody remembers there what is installed: let machines start
from their disk first and from the network where that is empty. Whoever can read
the orders has the secrets; imgbuild serve gives them to one machine, once.`,
		Example: `  imgbuild ignition --out configs
  imgbuild ignition master-1 worker-1 --out configs
  imgbuild ignition --claim --cloud aws --out configs
  imgbuild ignition --tree /srv/www/imgbuild --url http://10.77.0.1/imgbuild --images out`,
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.loadCluster()
			if err != nil {
				return err
			}
			nodes, err := selectNodes(c, names)
			if err != nil {
				return err
			}
			if cloud != "" && !slices.Contains(ignition.Clouds(), cloud) {
				return usageError{fmt.Errorf("--cloud %s: expected one of %s", cloud, strings.Join(ignition.Clouds(), ", "))}
			}
			if claim {
				return a.writeClaims(cmd.Context(), c, nodes, cloud, out)
			}
			store, err := a.secretStore(c)
			if err != nil {
				return err
			}
			secrets, err := a.secrets(cmd.Context(), store, c, false)
			if err != nil {
				return err
			}
			if tree.dir != "" {
				return a.writeTree(cmd.Context(), c, nodes, secrets, tree)
			}
			configs := make([][]byte, len(nodes))
			for i, n := range nodes {
				if configs[i], err = ignition.Render(c, n, secrets); err != nil {
					return err
				}
			}
			return a.writeConfigs(cmd.Context(), nodes, configs, cloud, out)
		},
	}
	cmd.Flags().StringVar(&out, "out", "out", "write the configs to `DIR`")
	cmd.Flags().StringVar(&cloud, "cloud", "", "check that a config fits into the user data of `aws|azure|openstack`")
	cmd.Flags().BoolVar(&claim, "claim", false, "leave the secrets out: the node claims them from imgbuild serve")
	cmd.Flags().StringVar(&tree.dir, "tree", "", "write the folder of a web server to `DIR` instead")
	cmd.Flags().StringVar(&tree.url, "url", "", "the `URL` under which machines find that folder")
	cmd.Flags().StringVar(&tree.images, "images", "out", "`DIR` with one image per role, for --tree")
	cmd.Flags().StringVar(&tree.ipxe, "ipxe", ipxeDir, "`DIR` with iPXE's snponly.efi and undionly.kpxe, for --tree")
	return cmd
}

// writeClaims writes configs that the server makes: it knows the nonces.
func (a *app) writeClaims(ctx context.Context, c *cluster.Cluster, nodes []cluster.Node, cloud, dir string) error {
	configs := make([][]byte, len(nodes))
	for i, n := range nodes {
		var err error
		if configs[i], err = a.askServer(ctx, c, http.MethodGet, "/v1/nodes/"+n.Name+"/config"); err != nil {
			return fmt.Errorf("config of %s: %w", n.Name, err)
		}
	}
	return a.writeConfigs(ctx, nodes, configs, cloud, dir)
}

// writeConfigs checks all configs before it writes the first one.
func (a *app) writeConfigs(ctx context.Context, nodes []cluster.Node, configs [][]byte, cloud, dir string) error {
	for i, n := range nodes {
		if cloud == "" {
			break
		}
		if err := ignition.Fits(cloud, configs[i]); err != nil {
			return fmt.Errorf("config of %s: %w", n.Name, err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory of the configs: %w", err)
	}
	for i, n := range nodes {
		file := filepath.Join(dir, n.Name+".ign")
		if err := ignition.WriteFile(ctx, file, configs[i]); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(a.Stdout, file); err != nil {
			return err
		}
	}
	return nil
}

// ipxeDir is where Debian's package ipxe puts its files.
const ipxeDir = "/usr/lib/ipxe"

// treeFlags are those of --tree.
type treeFlags struct{ dir, url, images, ipxe string }

func (a *app) writeTree(ctx context.Context, c *cluster.Cluster, nodes []cluster.Node, s ignition.Secrets, f treeFlags) error {
	if u, err := url.Parse(f.url); err != nil || u.Host == "" || u.Scheme != "http" {
		return usageError{fmt.Errorf("--url %s: expected http://… where machines will find %s: iPXE and the installer know no CAs", f.url, f.dir)}
	}
	sets, err := a.artefacts(ctx, nodes, f.images)
	if err != nil {
		return err
	}
	t := netboot.Tree{Cluster: c, Nodes: nodes, Secrets: s, Sets: sets, Loaders: f.ipxe, URL: f.url}
	if err := t.Write(ctx, f.dir); err != nil {
		return fmt.Errorf("write %s: %w", f.dir, err)
	}
	_, err = fmt.Fprintf(a.Stdout, "%s: iPXE, %d scripts and orders, the images of %d roles; give machines %s/boot/${mac:hexhyp}.ipxe\n", f.dir, len(nodes), len(sets), f.url)
	return err
}
