package firstboot

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"imgbuild/cluster/node"
)

// handshakeLimit is how long a server has to show its certificate. One that is
// busy may take seconds; a machine that is off takes what Dial gives it.
const handshakeLimit = 10 * time.Second

var (
	// errUnclear: something listens, and what it is was not said in time.
	errUnclear = errors.New("it listens, but shows no certificate")
	// errNobody: haproxy ends a connection that it has no server for.
	errNobody = errors.New("a balancer answers, but no master behind it is ready")
)

// handshake is nil where a server with a certificate of the CA listens. A
// balancer without a server behind it does not get that far, nor does another
// cluster.
func (m *machine) handshake(ctx context.Context, address string, ca *x509.Certificate) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	conn, err := m.host.Dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	server := tls.Client(conn, &tls.Config{RootCAs: poolOf(ca), ServerName: host, MinVersion: tls.VersionTLS12})
	err = server.HandshakeContext(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return errUnclear
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return errNobody
	}
	return err
}

// firstServing is the first of the addresses where a server of the CA listens,
// and the first where that is unclear; "" where there is none. All are asked at
// once.
func (m *machine) firstServing(ctx context.Context, addresses []string, caFile string) (serving, unclear string) {
	ca, err := m.host.readCertificate(caFile)
	if err != nil {
		return "", "" // kubeadm says it better
	}
	results := make([]error, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		all.Go(func() { results[i] = m.handshake(ctx, address, ca) })
	}
	all.Wait()
	for i, address := range addresses {
		switch {
		case results[i] == nil && serving == "":
			serving = address
		case errors.Is(results[i], errUnclear) && unclear == "":
			unclear = address
		}
	}
	return serving, unclear
}

// checkEndpoint is one attempt to reach the API of the cluster: nothing can be
// joined before. It costs a connection, and the pauses between two attempts grow.
func (m *machine) checkEndpoint(ctx context.Context) error {
	ca, err := m.clusterCA()
	if err != nil {
		return Stop{fmt.Sprintf("%v: render the config of %s again and install it again", err, m.node.Name)}
	}
	if pin := pinOf(ca); pin != m.node.CAHash {
		return Stop{fmt.Sprintf("the CA that Ignition delivered has the pin %s, but %s says %s: render the config of %s again", pin, node.Path, m.node.CAHash, m.node.Name)}
	}
	if err := m.handshake(ctx, m.endpoint(), ca); err != nil {
		return fmt.Errorf("waiting for the API at %s: %w", m.endpoint(), err)
	}
	return nil
}

// waitEndpoint is the phase api of nodes that have no API server.
func (m *machine) waitEndpoint(ctx context.Context) error {
	if err := m.checkEndpoint(ctx); err != nil {
		return err
	}
	m.reached("api answers", func(s *Status, up float64) { s.Seconds.API = up })
	return nil
}

// pinOf is kubeadm's hash of a CA: RFC 7469, of its SubjectPublicKeyInfo.
func pinOf(ca *x509.Certificate) string {
	digest := sha256.Sum256(ca.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(digest[:])
}
