package firstboot

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"imgbuild/cluster/node"
)

// haproxyPage is where haproxy says that it lives. The program haproxy-alive of
// the image, which keepalived calls, asks there too.
const haproxyPage = "http://127.0.0.1:8404/alive"

func haproxyDaemon() daemon {
	return daemon{
		unit: "haproxy.service", config: "/run/imgbuild/haproxy.cfg", mode: 0o644,
		check: []string{"haproxy", "-c", "-q", "-f"},
	}
}

// haproxyDone says whether haproxy answers with the configuration of now.
func (m *machine) haproxyDone(ctx context.Context) (bool, error) {
	return m.running(ctx, haproxyDaemon(), haproxyConfig(m.node)) && m.askHaproxy(ctx) == nil, nil
}

func (m *machine) startHaproxy(ctx context.Context) error {
	if err := m.start(ctx, haproxyDaemon(), haproxyConfig(m.node)); err != nil {
		return err
	}
	return m.host.wait(ctx, gateLimit, m.askHaproxy)
}

func (m *machine) askHaproxy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, haproxyPage, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DialContext: m.host.Dial, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("waiting for haproxy: %w", bare(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("waiting for haproxy: %s: HTTP %d", haproxyPage, response.StatusCode)
	}
	return nil
}

// haproxyHead is what does not depend on the cluster. Keywords: haproxy 3.0,
// configuration manual; 2.6 has them too.
//
// Connections of Kubernetes are long and silent: a timeout would cut `kubectl
// logs -f` and every watch, so only TCP finds those whose other end is gone.
const haproxyHead = `# Written by imgbuild-firstboot at every boot.
global
    log stdout format raw daemon notice
    user haproxy
    group haproxy
    chroot /var/lib/haproxy
    maxconn 8000

defaults
    mode tcp
    log global
    timeout connect 5s
    timeout client 24h
    timeout server 24h
    timeout tunnel 24h
    timeout client-fin 30s
    timeout server-fin 30s
    option tcpka
    clitcpka-idle 60s
    clitcpka-intvl 10s
    clitcpka-cnt 3
    srvtcpka-idle 60s
    srvtcpka-intvl 10s
    srvtcpka-cnt 3

# On its own behalf, whether or not there are servers.
frontend alive
    mode http
    bind 127.0.0.1:8404
    timeout client 5s
    timeout http-request 5s
    monitor-uri /alive
`

// haproxyConfig balances the API of all masters. A server counts as up when
// haproxy starts, and as down from the first check that fails; later ones have
// to fail three times.
func haproxyConfig(n node.Node) []byte {
	var b bytes.Buffer
	b.WriteString(haproxyHead)
	fmt.Fprintf(&b, "\nfrontend api\n    bind :%d\n    default_backend masters\n", n.Balancer.Port)
	b.WriteString(`
backend masters
    balance leastconn
    option httpchk GET /readyz
    http-check expect status 200
`)
	fmt.Fprintf(&b, "    timeout check %s\n", readyTimeout(n))
	fmt.Fprintf(&b, "    default-server check check-ssl verify required ca-file %s inter 5s fastinter 1s fall 3 rise 1 on-marked-down shutdown-sessions\n", caPath(n))
	for _, master := range n.Masters {
		fmt.Fprintf(&b, "    server %s %s\n", master.Name, hostPort(master.Address, apiPort))
	}
	return b.Bytes()
}

// caPath is where a node has the certificate of the cluster's CA.
func caPath(n node.Node) string {
	if n.Role == roleMaster {
		return pki + "/ca.crt"
	}
	return node.CAPath
}
