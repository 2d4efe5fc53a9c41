package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"imgbuild/cluster"
	"imgbuild/protocol"
)

// What changes something at the server, and how commands speak to it.

func newReinstallCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "reinstall NODE…",
		GroupID: groupRun,
		Short:   "Let a machine be installed once more",
		Long: `Reinstall tells the imgbuild serve that runs on this machine to install a machine
again, once, the next time that it starts from the network. What is on its system
disk is lost then. Its secrets may be claimed once more, with a new nonce.

It does not restart the machine.`,
		Example: `  imgbuild reinstall worker-1`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.commandServer(cmd.Context(), names, "reinstall", "will be installed when it next starts from the network")
		},
	}
}

func newReissueCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "reissue NODE…",
		GroupID: groupRun,
		Short:   "Let a node claim its secrets once more",
		Long: `Reissue tells the imgbuild serve that runs on this machine to seal the secrets of a
node once more, for the next who claims them with its nonce. Use it where the node
itself has lost the key that it claimed with. Where somebody else has claimed
them, they are not the node's alone any more: imgbuild secrets --rotate makes new
ones.`,
		Example: `  imgbuild reissue worker-1`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.commandServer(cmd.Context(), names, "reissue", "may claim its secrets once more")
		},
	}
}

func (a *app) commandServer(ctx context.Context, names []string, verb, done string) error {
	c, err := a.loadCluster()
	if err != nil {
		return err
	}
	nodes, err := selectNodes(c, names)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if _, err := a.askServer(ctx, c, http.MethodPost, "/v1/nodes/"+n.Name+"/"+verb); err != nil {
			return fmt.Errorf("%s %s: %w", verb, n.Name, err)
		}
		if _, err := fmt.Fprintf(a.Stdout, "%s %s\n", n.Name, done); err != nil {
			return err
		}
	}
	return nil
}

// serverClient speaks to the server of a cluster on this machine.
func (a *app) serverClient(c *cluster.Cluster) *http.Client {
	socket := filepath.Join(a.serveDir(c), socketName)
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
				return nil, fmt.Errorf("no imgbuild serve runs here for %s (%s): start it, or ask on the machine where it runs", a.clusterFile, socket)
			}
			return conn, err
		},
	}}
}

func (a *app) askServer(ctx context.Context, c *cluster.Cluster, method, path string) ([]byte, error) {
	response, err := a.callServer(ctx, c, method, path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(protocol.Reason(data, response.Status))
	}
	return data, err
}

func (a *app) callServer(ctx context.Context, c *cluster.Cluster, method, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://serve"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := a.serverClient(c).Do(request)
	if wrapped := new(url.Error); errors.As(err, &wrapped) {
		err = wrapped.Err // Its address says nothing.
	}
	return response, err
}
