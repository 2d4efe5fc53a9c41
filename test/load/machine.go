package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/insomniacslk/dhcp/iana"

	"imgbuild/cluster"
	"imgbuild/cluster/node"
	"imgbuild/install"
	"imgbuild/protocol"
)

// machine is one that has no operating system.
type machine struct {
	*load
	node   cluster.Node
	args   install.Args
	order  protocol.Order
	public *http.Client
	secure *http.Client
	token  string
}

// boot does what a machine does from power-on to ready.
func (m *machine) boot(ctx context.Context) error {
	m.public = &http.Client{Transport: &http.Transport{}}
	defer m.public.CloseIdleConnections()
	var url, script string
	for _, s := range []struct {
		name string
		do   func() error
	}{
		{"dhcp", func() (err error) { url, err = m.dhcp(); return err }},
		{"script", func() (err error) { script, err = m.text(ctx, m.public, url); return err }},
		{"kernel", func() error { return m.kernel(ctx, script) }},
		{"order", func() error { return m.getOrder(ctx) }},
		{"image", func() error { return m.image(ctx) }},
		{"report", func() error {
			return m.post(ctx, "install", m.args.Nonce, protocol.Progress{Step: protocol.StepInstalled, Plan: "load"}, nil)
		}},
		{"claim", func() error { return m.claim(ctx) }},
		{"status", func() error { return m.post(ctx, "status", m.token, protocol.AgentStatus{State: "ready"}, nil) }},
	} {
		if err := m.step(s.name, s.do); err != nil {
			return err
		}
	}
	m.secure.CloseIdleConnections()
	return nil
}

// dhcp asks through a relay, which is what a machine on loopback can be, and again
// where no answer comes, as a firmware does.
func (m *machine) dhcp() (string, error) {
	mac, err := net.ParseMAC(m.node.MAC)
	if err != nil {
		return "", err
	}
	self := net.ParseIP(m.node.Address).To4()
	conn, err := server4.NewIPv4UDPConn(m.iface, &net.UDPAddr{IP: self, Port: dhcpv4.ServerPort})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	discover, err := dhcpv4.NewDiscovery(mac, dhcpv4.WithGatewayIP(self),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003001")), dhcpv4.WithOption(dhcpv4.OptClientArch(iana.EFI_X86_64)),
		dhcpv4.WithGeneric(dhcpv4.OptionUserClassInformation, []byte("iPXE")))
	if err != nil {
		return "", err
	}
	offer, err := m.exchange(conn, discover)
	if err != nil {
		return "", err
	}
	request, err := dhcpv4.NewRequestFromOffer(offer, dhcpv4.WithGatewayIP(self),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003001")), dhcpv4.WithGeneric(dhcpv4.OptionUserClassInformation, []byte("iPXE")))
	if err != nil {
		return "", err
	}
	ack, err := m.exchange(conn, request)
	if err != nil {
		return "", err
	}
	if ack.MessageType() != dhcpv4.MessageTypeAck || ack.YourIPAddr.String() != m.node.Address {
		return "", fmt.Errorf("got %s of %s", ack.MessageType(), ack.YourIPAddr)
	}
	return ack.BootFileName, nil
}

func (m *machine) exchange(conn net.PacketConn, p *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error) {
	buf := make([]byte, 4096)
	for range 5 {
		if _, err := conn.WriteTo(p.ToBytes(), &net.UDPAddr{IP: net.ParseIP(m.server), Port: dhcpv4.ServerPort}); err != nil {
			return nil, err
		}
		if err := conn.SetReadDeadline(time.Now().Add(4 * time.Second)); err != nil {
			return nil, err
		}
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			continue
		}
		answer, err := dhcpv4.FromBytes(buf[:n])
		if err != nil {
			return nil, err
		}
		if answer.TransactionID == p.TransactionID {
			return answer, nil
		}
	}
	return nil, errors.New("no answer")
}

// kernel loads what iPXE would, and reads the arguments that the installer would.
func (m *machine) kernel(ctx context.Context, script string) error {
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "kernel" || !strings.HasSuffix(words[1], ".efi") {
			continue
		}
		var err error
		if m.args, err = install.ParseArgs(line); err != nil {
			return err
		}
		m.secure = &http.Client{Transport: &http.Transport{TLSClientConfig: protocol.Pinned(m.args.CA, m.args.Order.Hostname())}}
		return m.read(ctx, words[1], 0, -1)
	}
	return fmt.Errorf("no kernel in %q", script)
}

func (m *machine) getOrder(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, m.args.Order.String(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+m.args.Nonce)
	data, err := m.do(m.secure, r)
	if err != nil {
		return err
	}
	m.order, err = protocol.OpenOrder(data)
	return err
}

// image reads parts of it, each in a request of its own.
func (m *machine) image(ctx context.Context) error {
	if m.imageBytes == 0 {
		return m.read(ctx, m.order.Image, 0, -1)
	}
	part := m.imageBytes / m.ranges
	for i := range m.ranges {
		if err := m.read(ctx, m.order.Image, i*part, (i+1)*part-1); err != nil {
			return err
		}
	}
	return nil
}

// read takes the bytes from first to last, or to the end, and forgets them.
func (m *machine) read(ctx context.Context, url string, first, last int64) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if last >= 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, last))
	}
	response, err := m.public.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	m.mu.Lock()
	m.bytes += n
	m.mu.Unlock()
	if err == nil && response.StatusCode/100 != 2 {
		err = errors.New(response.Status)
	}
	return err
}

// claim claims, and opens what it gets.
func (m *machine) claim(ctx context.Context) error {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	var answer protocol.Claimed
	if err := m.post(ctx, "claim", "", protocol.Claim{Nonce: m.args.Nonce, Recipient: identity.Recipient().String()}, &answer); err != nil {
		return err
	}
	plain, err := age.Decrypt(armor.NewReader(strings.NewReader(answer.Bundle)), identity)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(plain)
	if err != nil {
		return err
	}
	bundle, err := protocol.OpenBundle(data, m.node.Name)
	for _, f := range bundle.Files {
		if f.Path == node.ReportPath {
			m.token = strings.TrimSpace(f.Text)
		}
	}
	return err
}

func (m *machine) post(ctx context.Context, what, word string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+m.args.Order.Host+"/v1/nodes/"+m.node.Name+"/"+what, bytes.NewReader(data))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+word)
	data, err = m.do(m.secure, r)
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(data, answer)
}

func (m *machine) text(ctx context.Context, client *http.Client, url string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	data, err := m.do(client, r)
	return string(data), err
}

func (m *machine) do(client *http.Client, r *http.Request) ([]byte, error) {
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, data)
	}
	return data, err
}
