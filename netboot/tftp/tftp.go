// Package tftp gives machines their boot loader over TFTP (RFC 1350, with the
// options of RFC 2347 to 2349), which is all that a firmware's PXE can load.
//
// It gives the files that it is asked for by name, and takes none. Everything else
// goes over HTTP.
package tftp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/pin/tftp/v3"
)

const port = 69

// Serve answers on one interface until the context ends. find is the path of a file
// by the name that it is asked for.
func Serve(ctx context.Context, iface string, address netip.Addr, find func(name string) (string, bool), log *slog.Logger) error {
	conn, err := server4.NewIPv4UDPConn(iface, &net.UDPAddr{IP: net.IP(address.AsSlice()), Port: port})
	if err != nil {
		return fmt.Errorf("TFTP on %s: %w", iface, err)
	}
	defer conn.Close()
	server := newServer(find, log)
	stop := context.AfterFunc(ctx, server.Shutdown)
	defer stop()
	if err := server.Serve(conn); err != nil && ctx.Err() == nil {
		return fmt.Errorf("TFTP on %s: %w", iface, err)
	}
	return nil
}

func newServer(find func(name string) (string, bool), log *slog.Logger) *tftp.Server {
	server := tftp.NewServer(func(name string, to io.ReaderFrom) error {
		path, ok := find(name)
		if !ok {
			log.Warn("tftp: asked for a file that is not served", "name", fmt.Sprintf("%.80q", name))
			return os.ErrNotExist
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if sized, ok := to.(tftp.OutgoingTransfer); ok {
			if info, err := f.Stat(); err == nil {
				sized.SetSize(info.Size())
			}
		}
		n, err := to.ReadFrom(f)
		log.Debug("tftp", "name", name, "bytes", n, "error", err)
		return err
	}, nil)
	server.SetTimeout(3 * time.Second)
	server.SetRetries(5)
	return server
}
