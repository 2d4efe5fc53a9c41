// Package dhcp tells machines that start from the network where their boot loader
// is, and in the full mode their address, too.
//
// Reply is pure: one packet in, one or none out. Serve has the sockets. Which
// machine is to be installed is not decided here: the loader asks that over HTTP.
// IPv4 only, and no leases to remember: cluster.yaml has every address.
package dhcp

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// Mode is what the server is to other DHCP servers.
type Mode string

// The modes.
const (
	// Proxy stands beside another server, which gives the addresses.
	Proxy Mode = "proxy"
	// Full gives the machines of cluster.yaml their addresses, and nobody else one.
	Full Mode = "full"
	// Off leaves DHCP to another server, which must tell machines what to load.
	Off Mode = "off"
)

// Modes are all of them.
func Modes() []Mode { return []Mode{Proxy, Full, Off} }

// Config is what replies are made from.
type Config struct {
	Mode Mode
	// Server is our own address, Subnet what it is in.
	Server netip.Addr
	Subnet netip.Prefix
	// Router may be invalid: there is none.
	Router netip.Addr
	DNS    []netip.Addr
	// Leases are the addresses of known machines, by MAC.
	Leases map[string]netip.Addr
	// HTTP is the address of the server's files, http://HOST:PORT.
	HTTP string
	// Lease is how long an address is good for.
	Lease time.Duration
}

// The files that machines load first. Their names are those of Debian's package
// ipxe.
const (
	LoaderUEFI = "snponly.efi"
	LoaderBIOS = "undionly.kpxe"
)

// The classes that clients of the network boot give themselves: PXE 2.1, section
// 2.2.1, and UEFI 2.10, section 24.7.
const (
	classPXE  = "PXEClient"
	classHTTP = "HTTPClient"
	// userIPXE is what iPXE says it is: https://ipxe.org/howto/dhcpd
	userIPXE = "iPXE"
)

// Reply is the answer to a packet; nil is none. asked says in words what a machine
// wants that starts from the network, for those that nobody knows.
func (c Config) Reply(in *dhcpv4.DHCPv4) (out *dhcpv4.DHCPv4, asked string) {
	if in.OpCode != dhcpv4.OpcodeBootRequest || len(in.ClientHWAddr) != 6 {
		return nil, ""
	}
	boot := bootFile(in, c)
	address, known := c.Leases[in.ClientHWAddr.String()]
	if boot != "" {
		asked = "to start from the network (" + arch(in) + ")"
	}
	if !known {
		// Not even a boot file: a stranger starts what it always starts.
		return nil, asked
	}
	var kind dhcpv4.MessageType
	switch in.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		kind = dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform:
		kind = dhcpv4.MessageTypeAck
	default:
		return nil, asked
	}
	switch c.Mode {
	case Full:
		return c.full(in, kind, address, boot), asked
	case Proxy:
		if boot == "" || kind == dhcpv4.MessageTypeAck && !c.forUs(in) {
			return nil, asked
		}
		return c.reply(in, kind, boot), asked
	}
	return nil, asked
}

// full gives the address too. A machine that asks for another one is told so.
func (c Config) full(in *dhcpv4.DHCPv4, kind dhcpv4.MessageType, address netip.Addr, boot string) *dhcpv4.DHCPv4 {
	if id := in.ServerIdentifier(); len(id) > 0 && !id.IsUnspecified() && !same(id, c.Server) {
		return nil // It has chosen another server.
	}
	out := c.reply(in, kind, boot)
	if out == nil {
		return nil
	}
	if in.MessageType() == dhcpv4.MessageTypeRequest {
		if wants := requested(in); wants != nil && !same(wants, address) {
			out.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
			out.BootFileName = ""
			return out
		}
	}
	if in.MessageType() != dhcpv4.MessageTypeInform {
		out.YourIPAddr = net.IP(address.AsSlice())
		out.UpdateOption(dhcpv4.OptIPAddressLeaseTime(c.Lease))
	}
	out.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(c.Subnet.Bits(), 32)))
	if c.Router.IsValid() {
		out.UpdateOption(dhcpv4.OptRouter(net.IP(c.Router.AsSlice())))
	}
	if len(c.DNS) > 0 {
		var list []net.IP
		for _, a := range c.DNS {
			list = append(list, net.IP(a.AsSlice()))
		}
		out.UpdateOption(dhcpv4.OptDNS(list...))
	}
	return out
}

// reply is an answer with what to load, if anything.
func (c Config) reply(in *dhcpv4.DHCPv4, kind dhcpv4.MessageType, boot string) *dhcpv4.DHCPv4 {
	out, err := dhcpv4.NewReplyFromRequest(in, dhcpv4.WithMessageType(kind), dhcpv4.WithServerIP(net.IP(c.Server.AsSlice())))
	if err != nil {
		return nil
	}
	out.UpdateOption(dhcpv4.OptServerIdentifier(net.IP(c.Server.AsSlice())))
	// RFC 4578, section 2.1: it comes back as it was.
	if id := in.GetOneOption(dhcpv4.OptionClientMachineIdentifier); id != nil {
		out.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, id))
	}
	if boot == "" {
		return out
	}
	out.BootFileName = boot
	out.UpdateOption(dhcpv4.OptBootFileName(boot))
	switch class := in.ClassIdentifier(); {
	case strings.HasPrefix(class, classHTTP):
		out.UpdateOption(dhcpv4.OptClassIdentifier(classHTTP))
	case c.Mode == Full:
		// A firmware takes the file of the server that gave it its address.
		out.UpdateOption(dhcpv4.OptTFTPServerName(c.Server.String()))
	case strings.HasPrefix(class, classPXE):
		out.UpdateOption(dhcpv4.OptClassIdentifier(classPXE))
		out.UpdateOption(dhcpv4.OptTFTPServerName(c.Server.String()))
		// PXE 2.1, table 2-1: PXE_DISCOVERY_CONTROL, bit 3: load the file that is
		// named here, and look for no boot servers.
		out.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, []byte{6, 1, 8, 255}))
	}
	return out
}

// forUs tells whether a request is for this proxy: a machine that asks on the boot
// server's port, or names us.
func (c Config) forUs(in *dhcpv4.DHCPv4) bool {
	id := in.ServerIdentifier()
	return len(id) == 0 || id.IsUnspecified() || same(id, c.Server)
}

// bootFile is what the machine is to load: iPXE its script, a firmware iPXE.
func bootFile(in *dhcpv4.DHCPv4, c Config) string {
	class := in.ClassIdentifier()
	switch {
	case isIPXE(in):
		return c.HTTP + "/boot/" + strings.ReplaceAll(in.ClientHWAddr.String(), ":", "-") + ".ipxe"
	case strings.HasPrefix(class, classHTTP):
		return c.HTTP + "/ipxe/" + LoaderUEFI
	case strings.HasPrefix(class, classPXE) && isBIOS(in):
		return LoaderBIOS
	case strings.HasPrefix(class, classPXE):
		return LoaderUEFI
	}
	return ""
}

// isIPXE looks at the user class as iPXE sends it: bare, not in the form of RFC 3004.
func isIPXE(in *dhcpv4.DHCPv4) bool {
	return string(in.GetOneOption(dhcpv4.OptionUserClassInformation)) == userIPXE || slices.Contains(in.UserClass(), userIPXE)
}

// isBIOS: RFC 4578, section 2.1: type 0 is x86 with a BIOS.
func isBIOS(in *dhcpv4.DHCPv4) bool {
	arches := in.ClientArch()
	return len(arches) == 0 || slices.Contains(arches, iana.INTEL_X86PC)
}

func arch(in *dhcpv4.DHCPv4) string {
	switch {
	case isIPXE(in):
		return "iPXE"
	case strings.HasPrefix(in.ClassIdentifier(), classHTTP):
		return "UEFI, HTTP"
	case isBIOS(in):
		return "BIOS, PXE"
	}
	return "UEFI, PXE"
}

// requested is the address that a machine asks for: RFC 2131, table 5.
func requested(in *dhcpv4.DHCPv4) net.IP {
	if ip := in.RequestedIPAddress(); len(ip) > 0 && !ip.IsUnspecified() {
		return ip
	}
	if len(in.ClientIPAddr) > 0 && !in.ClientIPAddr.IsUnspecified() {
		return in.ClientIPAddr
	}
	return nil
}

func same(ip net.IP, a netip.Addr) bool { return ip.Equal(net.IP(a.AsSlice())) }
