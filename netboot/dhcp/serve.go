package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
)

// Ports that a server listens on. The second is PXE 2.1's for boot servers, where
// machines ask a proxy once more.
const (
	portServer = 67
	portBoot   = 4011
)

// Server answers on one interface.
type Server struct {
	Config
	// Interface is the only one that is listened on.
	Interface string
	Log       *slog.Logger
	// Stranger is told of machines that nobody knows.
	Stranger func(mac, asked string)
}

// Serve answers until the context ends.
func (s *Server) Serve(ctx context.Context) error {
	if s.Mode == Off {
		return nil
	}
	ports := []int{portServer}
	if s.Mode == Proxy {
		ports = append(ports, portBoot)
	}
	failed := make(chan error, len(ports))
	for _, port := range ports {
		conn, err := server4.NewIPv4UDPConn(s.Interface, &net.UDPAddr{Port: port})
		if err != nil {
			return fmt.Errorf("DHCP on %s: %w", s.Interface, err)
		}
		defer conn.Close()
		go func() { failed <- s.listen(ctx, conn) }()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// listen answers what comes in on one socket. No packet ends it.
func (s *Server) listen(ctx context.Context, conn net.PacketConn) error {
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })
	defer stop()
	// The largest packet of UDP: a longer one cannot come.
	buf := make([]byte, 1<<16)
	for {
		n, peer, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("DHCP on %s: %w", s.Interface, err)
		}
		out, to := s.answer(buf[:n], peer)
		if out == nil {
			continue
		}
		if _, err := conn.WriteTo(out, to); err != nil {
			s.Log.Warn("dhcp: not answered", "to", to.String(), "error", err)
		}
	}
}

// answer is the bytes that go back, and where to. A packet that is none is
// dropped, and so is one that the decoder cannot cope with.
func (s *Server) answer(packet []byte, peer net.Addr) (out []byte, to net.Addr) {
	defer func() {
		if r := recover(); r != nil {
			s.Log.Warn("dhcp: a malformed packet was dropped", "from", peer.String())
			out = nil
		}
	}()
	in, err := dhcpv4.FromBytes(packet)
	if err != nil {
		return nil, nil
	}
	reply, asked := s.Reply(in)
	mac := in.ClientHWAddr.String()
	if _, known := s.Leases[mac]; !known && asked != "" && s.Stranger != nil {
		s.Stranger(mac, asked)
	}
	if reply == nil {
		return nil, nil
	}
	s.Log.Debug("dhcp", "mac", mac, "in", in.MessageType().String(), "out", reply.MessageType().String(), "address", reply.YourIPAddr.String(), "boot", reply.BootFileName)
	return reply.ToBytes(), destination(in, reply, peer)
}

// destination is where a reply goes: RFC 2131, section 4.1. A machine without an
// address gets it as a broadcast, which all of them take.
func destination(in, out *dhcpv4.DHCPv4, peer net.Addr) net.Addr {
	from, _ := peer.(*net.UDPAddr)
	switch {
	case !in.GatewayIPAddr.IsUnspecified() && len(in.GatewayIPAddr) > 0:
		return &net.UDPAddr{IP: in.GatewayIPAddr, Port: portServer}
	case out.MessageType() != dhcpv4.MessageTypeNak && from != nil && !from.IP.IsUnspecified() && len(from.IP) > 0:
		return from
	}
	return &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort}
}

// Other asks whether another server gives addresses on the interface, and returns
// which. It asks twice and takes patience: a server that is there answers within
// half of it. Some look for three seconds whether an address is free before they
// offer it (dnsmasq(8), --no-ping).
func Other(ctx context.Context, iface string, self net.IP, patience time.Duration) (string, error) {
	client, err := nclient4.New(iface, nclient4.WithTimeout(patience/2), nclient4.WithRetry(2))
	if err != nil {
		return "", fmt.Errorf("look for other DHCP servers on %s: %w", iface, err)
	}
	defer client.Close()
	offer, err := client.DiscoverOffer(ctx)
	switch {
	case errors.Is(err, nclient4.ErrNoResponse), errors.Is(err, os.ErrDeadlineExceeded):
		return "", nil
	case err != nil && ctx.Err() == nil && strings.Contains(err.Error(), nclient4.ErrNoResponse.Error()):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look for other DHCP servers on %s: %w", iface, err)
	case offer.ServerIdentifier().Equal(self) || offer.YourIPAddr.IsUnspecified():
		return "", nil
	}
	return offer.ServerIdentifier().String(), nil
}
