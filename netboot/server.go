package netboot

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"imgbuild/cluster"
	"imgbuild/ignition"
	"imgbuild/netboot/artefact"
	"imgbuild/netboot/dhcp"
	"imgbuild/netboot/state"
	"imgbuild/netboot/tftp"
	"imgbuild/protocol"
)

// Options are what a server is made from.
type Options struct {
	Cluster *cluster.Cluster
	Secrets ignition.Secrets
	// Nodes are the names of those that may be installed. The others of the cluster
	// are known, and start from their disks.
	Nodes []string
	// Sets are what is served of the images of the nodes' roles.
	Sets  map[cluster.Role]artefact.Set
	Store *state.Store
	// Interface is the only one that DHCP and TFTP are answered on; Address is ours on it.
	Interface string
	Address   netip.Addr
	// HTTPPort is for what is no secret, TLSPort for everything else.
	HTTPPort, TLSPort int
	DHCP              dhcp.Mode
	// Loaders is the folder of Debian's package ipxe.
	Loaders string
	// Socket is where commands on this machine reach the server: whoever may write
	// to it may do everything.
	Socket string
	// Token lets people see the page.
	Token string
	Log   *slog.Logger
}

// Server is one running server.
type Server struct {
	Options
	cert    tls.Certificate
	pin     string
	key     ed25519.PrivateKey
	byMAC   map[string]cluster.Node
	metrics *metrics

	mu      sync.Mutex
	live    map[string]live
	changed chan struct{}
}

// New checks what a server needs and makes the machines that it does not
// remember.
func New(o Options) (*Server, error) {
	s := &Server{Options: o, byMAC: map[string]cluster.Node{}, live: map[string]live{}, changed: make(chan struct{})}
	var err error
	if s.cert, err = ignition.ServerCertificate(o.Secrets, []string{o.Address.String(), "localhost", "127.0.0.1"}); err != nil {
		return nil, err
	}
	if s.pin, err = o.Secrets.CAHash(); err != nil {
		return nil, err
	}
	if s.key, err = ignition.InstallKey(o.Secrets); err != nil {
		return nil, err
	}
	var names []string
	for _, n := range o.Cluster.Nodes {
		mac, err := net.ParseMAC(n.MAC)
		if err != nil {
			return nil, fmt.Errorf("node %s: mac: %w", n.Name, err)
		}
		s.byMAC[mac.String()] = n
		names = append(names, n.Name)
		if !s.serves(n) {
			continue
		}
		// Now, and not when the machine claims them at night.
		if _, err := ignition.Bundle(o.Cluster, n, o.Secrets); err != nil {
			return nil, fmt.Errorf("secrets of %s: %w", n.Name, err)
		}
	}
	if err := o.Store.Ensure(names, NewNonce, time.Now()); err != nil {
		return nil, err
	}
	s.metrics = newMetrics(s)
	return s, nil
}

// NewNonce is 32 hex digits that nobody can guess.
func NewNonce() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// PublicURL and secureURL are where machines find us.
func (s *Server) PublicURL() string {
	return "http://" + net.JoinHostPort(s.Address.String(), strconv.Itoa(s.HTTPPort))
}

func (s *Server) secureURL() string {
	return "https://" + net.JoinHostPort(s.Address.String(), strconv.Itoa(s.TLSPort))
}

// PageURL is where people find us; it lets in who opens it.
func (s *Server) PageURL() string { return s.secureURL() + "/login?token=" + s.Token }

// Run serves until the context ends. ready is called once everything listens.
func (s *Server) Run(ctx context.Context, ready func()) error {
	if err := s.checkLoaders(); err != nil {
		return err
	}
	if s.DHCP == dhcp.Full {
		if err := s.alone(ctx); err != nil {
			return err
		}
	}
	public, err := net.Listen("tcp", net.JoinHostPort(s.Address.String(), strconv.Itoa(s.HTTPPort)))
	if err != nil {
		return err
	}
	defer public.Close()
	secure, err := net.Listen("tcp", net.JoinHostPort(s.Address.String(), strconv.Itoa(s.TLSPort)))
	if err != nil {
		return err
	}
	defer secure.Close()
	local, err := s.listenLocal()
	if err != nil {
		return err
	}
	defer local.Close()

	g, ctx := errgroup.WithContext(ctx)
	serve := func(l net.Listener, h http.Handler) { g.Go(func() error { return s.http(ctx, l, h) }) }
	serve(public, s.publicHandler())
	serve(tls.NewListener(secure, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{s.cert}, NextProtos: []string{"h2", "http/1.1"}}), s.metrics.count(s.secureHandler()))
	serve(local, s.localHandler())
	g.Go(func() error { return s.dhcpServer().Serve(ctx) })
	if s.DHCP != dhcp.Off {
		g.Go(func() error { return tftp.Serve(ctx, s.Interface, s.Address, s.loader, s.Log) })
	}
	ready()
	return g.Wait()
}

// http serves one listener until the context ends. Slow readers are welcome, since
// an image takes its time; slow writers of headers are not.
func (s *Server) http(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 20 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		// What waits for news ends with the server.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) dhcpServer() *dhcp.Server {
	c := s.Cluster.Network
	config := dhcp.Config{
		Mode: s.DHCP, Server: s.Address, HTTP: s.PublicURL(), Lease: 12 * time.Hour, Leases: map[string]netip.Addr{},
	}
	config.Subnet, _ = netip.ParsePrefix(c.Subnet)
	config.Router, _ = netip.ParseAddr(c.Gateway)
	for _, text := range c.DNS {
		if a, err := netip.ParseAddr(text); err == nil {
			config.DNS = append(config.DNS, a)
		}
	}
	for mac, n := range s.byMAC {
		config.Leases[mac], _ = netip.ParseAddr(n.Address)
	}
	return &dhcp.Server{Config: config, Interface: s.Interface, Log: s.Log, Stranger: s.stranger}
}

// otherPatience is what another DHCP server may take for its answer.
const otherPatience = 10 * time.Second

// alone refuses to give addresses where somebody else does.
func (s *Server) alone(ctx context.Context) error {
	s.Log.Info("looking for other DHCP servers", "interface", s.Interface, "for", otherPatience)
	other, err := dhcp.Other(ctx, s.Interface, s.Address.AsSlice(), otherPatience)
	if err != nil {
		return err
	}
	if other != "" {
		return fmt.Errorf("another DHCP server, %s, gives addresses on %s: two of them break the network; use --dhcp proxy beside it", other, s.Interface)
	}
	return nil
}

// checkLoaders wants iPXE to be there before a machine asks for it.
func (s *Server) checkLoaders() error {
	for _, name := range []string{dhcp.LoaderUEFI, dhcp.LoaderBIOS} {
		if _, err := os.Stat(filepath.Join(s.Loaders, name)); err != nil {
			return fmt.Errorf("iPXE: %w: apt-get install ipxe brings it, --ipxe names another folder", err)
		}
	}
	return nil
}

// loader is the path of a loader by its name, whatever folder it was asked for in.
func (s *Server) loader(name string) (string, bool) {
	name = strings.TrimLeft(name, "/")
	if name != dhcp.LoaderUEFI && name != dhcp.LoaderBIOS {
		return "", false
	}
	return filepath.Join(s.Loaders, name), true
}

// listenLocal makes the socket for commands on this machine, over the one of a
// server that was killed: the store's lock says that there is no other.
func (s *Server) listenLocal() (net.Listener, error) {
	if err := os.Remove(s.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", s.Socket)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(s.Socket, 0o600)
}

// stranger remembers a machine that cluster.yaml does not name, and says so once.
func (s *Server) stranger(mac, asked string) {
	if err := s.Store.Stranger(mac, asked, time.Now()); err != nil {
		s.Log.Error("not remembered", "mac", mac, "error", err)
	}
	s.notify()
}

// publicKey is what manifests are checked with.
func (s *Server) publicKey() string {
	return hex.EncodeToString(s.key.Public().(ed25519.PublicKey))
}

// order is what a machine is told to install.
func (s *Server) order(n cluster.Node, kept state.Node, overwrite bool) (protocol.Order, error) {
	config, err := ignition.RenderClaim(s.Cluster, n, s.Secrets, s.claimFile(kept))
	if err != nil {
		return protocol.Order{}, err
	}
	o := orderFor(s.Cluster, n, s.Sets[n.Role], s.PublicURL(), config)
	o.Overwrite, o.Report = overwrite, s.secureURL()+"/v1/nodes/"+n.Name+"/install"
	return o, nil
}
