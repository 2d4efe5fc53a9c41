package dhcp

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	worker   = net.HardwareAddr{0x52, 0x54, 0, 0x77, 0, 0x31}
	stranger = net.HardwareAddr{0x52, 0x54, 0, 0x77, 0, 0x99}
)

func config(mode Mode) Config {
	return Config{
		Mode: mode, Server: netip.MustParseAddr("10.77.0.1"), Subnet: netip.MustParsePrefix("10.77.0.0/24"),
		Router: netip.MustParseAddr("10.77.0.1"), DNS: []netip.Addr{netip.MustParseAddr("10.77.0.53")},
		Leases: map[string]netip.Addr{worker.String(): netip.MustParseAddr("10.77.0.31")},
		HTTP:   "http://10.77.0.1:8080", Lease: time.Hour,
	}
}

// discover is the first packet of a client of a kind.
func discover(t *testing.T, mac net.HardwareAddr, class string, arch iana.Arch, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	all := []dhcpv4.Modifier{}
	if class != "" {
		all = append(all, dhcpv4.WithOption(dhcpv4.OptClassIdentifier(class)), dhcpv4.WithOption(dhcpv4.OptClientArch(arch)))
	}
	p, err := dhcpv4.NewDiscovery(mac, append(all, more...)...)
	require.NoError(t, err)
	return p
}

const (
	pxeUEFI  = "PXEClient:Arch:00007:UNDI:003001"
	pxeBIOS  = "PXEClient:Arch:00000:UNDI:002001"
	httpUEFI = "HTTPClient:Arch:00016:UNDI:003001"
	// httpReply is what such a client must see, or it takes no notice.
	httpReply = "HTTPClient"
)

func TestWhatAMachineLoads(t *testing.T) {
	ipxe := dhcpv4.WithGeneric(dhcpv4.OptionUserClassInformation, []byte("iPXE"))
	for _, test := range []struct {
		name, class string
		arch        iana.Arch
		more        []dhcpv4.Modifier
		file, reply string
	}{
		{"UEFI, PXE", pxeUEFI, iana.EFI_X86_64, nil, "snponly.efi", "PXEClient"},
		{"UEFI, HTTP", httpUEFI, iana.EFI_X86_64_HTTP, nil, "http://10.77.0.1:8080/ipxe/snponly.efi", "HTTPClient"},
		{"BIOS, PXE", pxeBIOS, iana.INTEL_X86PC, nil, "undionly.kpxe", "PXEClient"},
		{"iPXE", pxeUEFI, iana.EFI_X86_64, []dhcpv4.Modifier{ipxe}, "http://10.77.0.1:8080/boot/52-54-00-77-00-31.ipxe", "PXEClient"},
	} {
		for _, mode := range []Mode{Full, Proxy} {
			t.Run(test.name+" "+string(mode), func(t *testing.T) {
				out, asked := config(mode).Reply(discover(t, worker, test.class, test.arch, test.more...))
				require.NotNil(t, out)
				assert.NotEmpty(t, asked)
				assert.Equal(t, dhcpv4.MessageTypeOffer, out.MessageType())
				assert.Equal(t, test.file, out.BootFileName)
				assert.Equal(t, test.file, out.BootFileNameOption())
				if test.reply == httpReply || mode == Proxy {
					assert.Equal(t, test.reply, out.ClassIdentifier())
				}
				assert.Equal(t, "10.77.0.1", out.ServerIPAddr.String())
				if mode == Proxy {
					assert.True(t, out.YourIPAddr.IsUnspecified(), "a proxy gives no addresses")
					assert.Nil(t, out.SubnetMask())
				} else {
					assert.Equal(t, "10.77.0.31", out.YourIPAddr.String())
					assert.Equal(t, net.CIDRMask(24, 32), out.SubnetMask())
				}
			})
		}
	}
}

func TestAddresses(t *testing.T) {
	c := config(Full)
	offer, _ := c.Reply(discover(t, worker, "", 0))
	require.NotNil(t, offer, "an operating system gets its address, too")
	assert.Empty(t, offer.BootFileName)
	assert.Equal(t, time.Hour, offer.IPAddressLeaseTime(0))
	assert.Equal(t, []net.IP{{10, 77, 0, 53}}, offer.DNS())

	request, err := dhcpv4.NewRequestFromOffer(offer)
	require.NoError(t, err)
	ack, _ := c.Reply(request)
	require.NotNil(t, ack)
	assert.Equal(t, dhcpv4.MessageTypeAck, ack.MessageType())
	assert.Equal(t, "10.77.0.31", ack.YourIPAddr.String())

	request.UpdateOption(dhcpv4.OptRequestedIPAddress(net.IP{10, 77, 0, 99}))
	nak, _ := c.Reply(request)
	require.NotNil(t, nak)
	assert.Equal(t, dhcpv4.MessageTypeNak, nak.MessageType(), "it wants an address that is not its own")

	request.UpdateOption(dhcpv4.OptServerIdentifier(net.IP{10, 77, 0, 2}))
	out, _ := c.Reply(request)
	assert.Nil(t, out, "it has chosen another server")
}

func TestWhoGetsNothing(t *testing.T) {
	for _, mode := range Modes() {
		out, asked := config(mode).Reply(discover(t, stranger, pxeUEFI, iana.EFI_X86_64))
		assert.Nil(t, out, "%s: a machine that cluster.yaml does not name", mode)
		assert.Equal(t, "to start from the network (UEFI, PXE)", asked)
	}
	out, asked := config(Proxy).Reply(discover(t, worker, "", 0))
	assert.Nil(t, out, "a proxy has nothing for an operating system")
	assert.Empty(t, asked)

	offer, _ := config(Full).Reply(discover(t, worker, pxeUEFI, iana.EFI_X86_64))
	out, _ = config(Full).Reply(offer)
	assert.Nil(t, out, "another server's answer is none of our business")

	request := discover(t, worker, pxeUEFI, iana.EFI_X86_64, dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{10, 77, 0, 2})))
	out, _ = config(Proxy).Reply(request)
	assert.Nil(t, out, "the request is for the server that gives the addresses")
	request.UpdateOption(dhcpv4.OptServerIdentifier(net.IP{10, 77, 0, 1}))
	out, _ = config(Proxy).Reply(request)
	require.NotNil(t, out)
	assert.Equal(t, dhcpv4.MessageTypeAck, out.MessageType())
}

func TestWhereRepliesGo(t *testing.T) {
	in := discover(t, worker, pxeUEFI, iana.EFI_X86_64)
	out, _ := config(Full).Reply(in)
	nobody := &net.UDPAddr{IP: net.IPv4zero, Port: 68}
	assert.Equal(t, "255.255.255.255:68", destination(in, out, nobody).String())
	assert.Equal(t, "10.77.0.31:4011", destination(in, out, &net.UDPAddr{IP: net.IP{10, 77, 0, 31}, Port: 4011}).String())
	in.GatewayIPAddr = net.IP{10, 77, 9, 1}
	assert.Equal(t, "10.77.9.1:67", destination(in, out, nobody).String(), "a relay")
}

// FuzzPackets: whatever arrives, the server goes on, and what it answers is a packet.
func FuzzPackets(f *testing.F) {
	for _, mac := range []net.HardwareAddr{worker, stranger} {
		p, err := dhcpv4.NewDiscovery(mac, dhcpv4.WithOption(dhcpv4.OptClassIdentifier(pxeUEFI)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p.ToBytes())
	}
	servers := []*Server{}
	for _, mode := range Modes() {
		servers = append(servers, &Server{Config: config(mode), Log: slog.New(slog.DiscardHandler), Stranger: func(string, string) {}})
	}
	peer := &net.UDPAddr{IP: net.IPv4zero, Port: 68}
	f.Fuzz(func(t *testing.T, packet []byte) {
		for _, s := range servers {
			out, to := s.answer(packet, peer)
			if out == nil {
				continue
			}
			reply, err := dhcpv4.FromBytes(out)
			require.NoError(t, err)
			require.Equal(t, dhcpv4.OpcodeBootReply, reply.OpCode)
			require.NotNil(t, to)
			require.Equal(t, worker.String(), reply.ClientHWAddr.String(), "nobody else is answered")
		}
	})
}
