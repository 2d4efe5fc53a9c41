package lab

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// network is what connects the machines of a lab: for root a bridge in a
// network namespace that nothing else is in, for others a multicast group on
// the loopback interface, which the host itself is no part of.
type network struct {
	namespace string
	dir       string
	addresses []string
	root      bool
}

const bridge = "br0"

func (l *Lab) network() network {
	n := network{namespace: "imgbuild-" + l.Name, dir: l.Dir, root: os.Geteuid() == 0}
	for _, a := range hostAddresses(l.Subnet, l.Gateway, l.Taken) {
		n.addresses = append(n.addresses, netip.PrefixFrom(a, l.Subnet.Bits()).String())
	}
	return n
}

// hostAddresses are the addresses of the host's side: the gateway's, if any,
// and the last one of the subnet that nothing else has.
func hostAddresses(subnet netip.Prefix, gateway netip.Addr, taken []netip.Addr) []netip.Addr {
	var addresses []netip.Addr
	if gateway.IsValid() {
		addresses = append(addresses, gateway)
	}
	// The very last address is the broadcast's, the first the network's.
	for a := lastAddress(subnet).Prev(); subnet.Contains(a) && a != subnet.Masked().Addr(); a = a.Prev() {
		if a == gateway {
			return addresses
		}
		if !slices.Contains(taken, a) {
			return append(addresses, a)
		}
	}
	return addresses
}

func lastAddress(subnet netip.Prefix) netip.Addr {
	b := subnet.Masked().Addr().As4()
	for bit := subnet.Bits(); bit < 32; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(b)
}

// timeAt is where the lab's machines find a time server: at the gateway's
// address, which is the host's. Without root the host is not in their network.
func (l *Lab) timeAt() string {
	if !l.network().root || !l.Gateway.IsValid() {
		return ""
	}
	return netip.AddrPortFrom(l.Gateway, ntpPort).String()
}

// attach makes what a machine's interface is plugged into, and returns QEMU's
// -netdev for it.
func (n network) attach(ctx context.Context, mac string) (string, error) {
	if !n.root {
		return "socket,mcast=" + n.group() + ",localaddr=127.0.0.1", nil
	}
	if err := n.create(ctx); err != nil {
		return "", err
	}
	tap := tapName(mac)
	if n.ip(ctx, "link", "show", "dev", tap) != nil {
		err := n.ip(ctx, "tuntap", "add", "dev", tap, "mode", "tap")
		if err == nil {
			err = n.ip(ctx, "link", "set", "dev", tap, "master", bridge, "up")
		}
		if err != nil {
			// Half a tap would be taken for a whole one the next time.
			_ = n.ip(context.WithoutCancel(ctx), "link", "delete", "dev", tap)
			return "", fmt.Errorf("network of the lab: %w", err)
		}
	}
	return "tap,ifname=" + tap + ",script=no,downscript=no", nil
}

// tapName is unique like the MAC and fits the 15 letters of a Linux interface.
func tapName(mac string) string { return "t" + strings.ReplaceAll(mac, ":", "") }

// group is a multicast address and port that two labs rarely share.
func (n network) group() string {
	h := fnv.New32a()
	h.Write([]byte(n.dir))
	sum := h.Sum32()
	return fmt.Sprintf("239.255.%d.%d:%d", sum>>24, sum>>16&0xff, 20000+sum&0x3fff)
}

// create makes namespace and bridge where they are not there yet: all or nothing.
func (n network) create(ctx context.Context) (err error) {
	// The file claims the namespace, before it exists: a crash in between
	// leaves nothing that the next command would refuse.
	claim := filepath.Join(n.dir, networkFile)
	_, unclaimed := os.Stat(claim)
	if n.exists() {
		if unclaimed != nil {
			return fmt.Errorf("the network namespace %s belongs to another lab: end that one with imgbuild lab down and its own --cache, or remove the namespace with ip netns delete %[1]s", n.namespace)
		}
		if n.ip(ctx, "link", "show", "dev", bridge) == nil {
			return nil
		}
	} else {
		if err := os.WriteFile(claim, []byte(n.namespace+"\n"), 0o600); err != nil {
			return err
		}
		if err := run(ctx, "ip", "netns", "add", n.namespace); err != nil {
			return fmt.Errorf("network of the lab: %w", err)
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("network of the lab: %w", err), n.remove(context.WithoutCancel(ctx)))
		}
	}()
	if err := n.ip(ctx, "link", "set", "dev", "lo", "up"); err != nil {
		return err
	}
	// Without snooping a multicast reaches every machine, as on a plain switch.
	if err := n.ip(ctx, "link", "add", bridge, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0"); err != nil {
		return err
	}
	for _, a := range n.addresses {
		if err := n.ip(ctx, "address", "add", a, "dev", bridge); err != nil {
			return err
		}
	}
	return n.ip(ctx, "link", "set", "dev", bridge, "up")
}

// remove deletes the namespace, and with it bridge and taps, if it is ours.
func (n network) remove(ctx context.Context) error {
	claim := filepath.Join(n.dir, networkFile)
	if _, err := os.Stat(claim); err != nil || !n.root {
		return nil
	}
	if n.exists() {
		if err := run(ctx, "ip", "netns", "delete", n.namespace); err != nil {
			return fmt.Errorf("remove the lab's network: %w", err)
		}
	}
	return os.Remove(claim)
}

// enter is the command that runs another one inside the network.
func (n network) enter(command []string) []string {
	if !n.root {
		return command
	}
	return append([]string{"nsenter", "--net=" + n.path(), "--"}, command...)
}

func (n network) path() string { return "/var/run/netns/" + n.namespace }

func (n network) exists() bool {
	_, err := os.Stat(n.path())
	return err == nil
}

func (n network) ip(ctx context.Context, args ...string) error {
	return run(ctx, "ip", append([]string{"-n", n.namespace}, args...)...)
}

// run executes a tool; its error holds the command and what it complained of.
func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
