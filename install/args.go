// Package install is the installer: it runs in the initramfs of a role's own image,
// on a machine that has started from the network, and puts that image onto the
// machine's disk.
//
// What it is to do is in its order. It trusts a CA's pin and a signing key, both
// from the kernel's command line, and nobody else. Until the image is whole and is
// what was signed, the disk cannot be started from. It makes no decision about
// the cluster, and gets none of its secrets.
package install

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Args are what the kernel's command line says, as imgbuild.NAME=VALUE.
type Args struct {
	// Order is the address of the order, Nonce what it is asked for with.
	Order *url.URL
	Nonce string
	// CA is the pin of the server's CA; none is needed for an order over plain HTTP.
	CA string
	// Key is what manifests are signed with, hex.
	Key string
	// MAC is the network interface's, Address what it gets, Gateway may be invalid.
	MAC     string
	Address netip.Prefix
	Gateway netip.Addr
}

// ParseArgs reads a kernel command line.
func ParseArgs(cmdline string) (Args, error) {
	values := map[string]string{}
	for _, word := range strings.Fields(cmdline) {
		if key, value, ok := strings.Cut(strings.TrimPrefix(word, "imgbuild."), "="); ok && strings.HasPrefix(word, "imgbuild.") {
			values[key] = value
		}
	}
	a := Args{Nonce: values["nonce"], CA: values["ca"], Key: values["key"]}
	var err error
	if a.Order, err = url.Parse(values["order"]); err != nil || a.Order.Host == "" {
		return a, argument("order", values["order"], "the address of an order")
	}
	if a.Order.Scheme == "https" && a.CA == "" {
		return a, argument("ca", "", "the pin of the server's CA")
	}
	if a.Key == "" {
		return a, argument("key", "", "the key that images are signed with")
	}
	mac, err := net.ParseMAC(values["mac"])
	if err != nil {
		return a, argument("mac", values["mac"], "the MAC of the network interface")
	}
	a.MAC = mac.String()
	if a.Address, err = netip.ParsePrefix(values["address"]); err != nil {
		return a, argument("address", values["address"], "ADDRESS/BITS")
	}
	if g := values["gateway"]; g != "" {
		if a.Gateway, err = netip.ParseAddr(g); err != nil {
			return a, argument("gateway", g, "an address")
		}
	}
	return a, nil
}

func argument(name, value, want string) error {
	return fmt.Errorf("kernel argument imgbuild.%s: expected %s, got %q: start from imgbuild serve, or write it as imgbuild serve --tree does", name, want, value)
}
