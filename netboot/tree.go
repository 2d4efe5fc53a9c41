package netboot

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"imgbuild/cluster"
	"imgbuild/ignition"
	"imgbuild/netboot/artefact"
	"imgbuild/netboot/dhcp"
)

// Tree is what Server serves as plain files, for who has a web server, a TFTP
// server and DHCP already. Nobody remembers there what is installed, so that
// machines must start from their disks first, and from the network where that is
// empty. Configs hold their secrets: nobody claims.
type Tree struct {
	Cluster *cluster.Cluster
	Nodes   []cluster.Node
	Secrets ignition.Secrets
	Sets    map[cluster.Role]artefact.Set
	// Loaders is the folder of Debian's package ipxe.
	Loaders string
	// URL is where machines will find the folder.
	URL string
	// Server, where it is not empty, is the address of a Server's public files: scripts
	// lead there, it remembers, and no orders are written.
	Server string
}

// Write fills the folder: ipxe/, boot/MAC.ipxe, images/ROLE.*, and nodes/NODE.json
// with secrets, which its owner alone may read.
func (t Tree) Write(ctx context.Context, dir string) error {
	for _, sub := range []string{"ipxe", "boot", "images", "nodes"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{dhcp.LoaderUEFI, dhcp.LoaderBIOS} {
		if err := copyFile(ctx, filepath.Join(t.Loaders, name), filepath.Join(dir, "ipxe", name)); err != nil {
			return fmt.Errorf("iPXE: %w: apt-get install ipxe brings it, --ipxe names another folder", err)
		}
	}
	key, err := ignition.InstallKey(t.Secrets)
	if err != nil {
		return err
	}
	for _, set := range t.Sets {
		if err := t.writeSet(ctx, dir, set, key); err != nil {
			return fmt.Errorf("images of role %s: %w", set.Role, err)
		}
	}
	for _, n := range t.Nodes {
		mac, err := net.ParseMAC(n.MAC)
		if err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
		n.MAC = mac.String()
		script := "#!ipxe\nchain --replace " + t.Server + scriptPath(n.MAC) + "\n"
		if t.Server == "" {
			if script, err = t.writeNode(ctx, dir, n, key); err != nil {
				return fmt.Errorf("node %s: %w", n.Name, err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, scriptPath(n.MAC)), []byte(script), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (t Tree) writeSet(ctx context.Context, dir string, set artefact.Set, key ed25519.PrivateKey) error {
	to := func(ext string) string { return filepath.Join(dir, "images", set.Role+ext) }
	for _, ext := range []string{artefact.ExtImage, artefact.ExtUKI, artefact.ExtKernel, artefact.ExtInitrd, artefact.ExtManifest} {
		if err := copyFile(ctx, set.File(ext), to(ext)); err != nil {
			return err
		}
	}
	_, signature, err := set.Sign(key)
	if err != nil {
		return err
	}
	return os.WriteFile(to(artefact.ExtSignature), []byte(signature+"\n"), 0o644)
}

// writeNode writes a node's order, and returns its script.
func (t Tree) writeNode(ctx context.Context, dir string, n cluster.Node, key ed25519.PrivateKey) (script string, err error) {
	config, err := ignition.Render(t.Cluster, n, t.Secrets)
	if err != nil {
		return "", err
	}
	base, set := strings.TrimSuffix(t.URL, "/"), t.Sets[n.Role]
	order, err := json.Marshal(orderFor(t.Cluster, n, set, base, config))
	if err != nil {
		return "", err
	}
	if err := ignition.WriteFile(ctx, filepath.Join(dir, "nodes", n.Name+".json"), order); err != nil {
		return "", err
	}
	subnet, err := netip.ParsePrefix(t.Cluster.Network.Subnet)
	if err != nil {
		return "", err
	}
	args := installArguments(installation{
		Order: base + "/nodes/" + n.Name + ".json", Key: hex.EncodeToString(key.Public().(ed25519.PublicKey)),
		MAC: n.MAC, Address: fmt.Sprintf("%s/%d", n.Address, subnet.Bits()), Gateway: t.Cluster.Network.Gateway,
	})
	return installScript(target{Node: n, Set: set, Public: base, Install: args}), nil
}

// copyFile makes the whole file or none.
func copyFile(ctx context.Context, from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := to + ".part"
	out, err := os.Create(tmp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp))
		}
	}()
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close(), ctx.Err()); err != nil {
		return err
	}
	return os.Rename(tmp, to)
}
