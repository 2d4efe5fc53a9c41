// Imgbuild-install is the installer in the initramfs of every image: it runs where
// a machine has started from the network, and takes no arguments but the kernel's.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"imgbuild/console"
	"imgbuild/install"
	"imgbuild/protocol"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	devices := console.Devices{Root: "/"}
	say := func(format string, args ...any) {
		line := "imgbuild: " + console.OneLine(fmt.Sprintf(format, args...)) + "\n"
		os.Stdout.WriteString(line)
		// The journal has the line, whatever the consoles do.
		_, _ = devices.Write([]byte(line))
	}
	if err := run(ctx, say); err != nil {
		say("stop: install: %v", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, say func(string, ...any)) error {
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	args, err := install.ParseArgs(string(cmdline))
	if err != nil {
		return err
	}
	say("install: %s asks %s", args.MAC, args.Order.Host)
	i := install.Installer{Args: args, Machine: install.Here(), Say: say, Client: client(protocol.Pinned(args.CA, args.Order.Hostname())), Images: client(anybody())}
	if err := i.Run(ctx); err != nil {
		return err
	}
	say("install: starting again")
	return i.Machine.Restart()
}

// anybody is good enough to bring an image: what it is its signed manifest says, and
// an initramfs knows no CAs.
func anybody() *tls.Config { return &tls.Config{InsecureSkipVerify: true} } //nolint:gosec // see above

// client has all the time that an image needs, but a connection must come about.
func client(trust *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:     (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 10 * time.Second}).DialContext,
		TLSClientConfig: trust, TLSHandshakeTimeout: 15 * time.Second, ResponseHeaderTimeout: 20 * time.Second,
	}}
}
