package firstboot

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"

	"imgbuild/cluster/node"
)

// registryCAPath is the CA of a registry that is not ours, where it has one of
// its own.
const registryCAPath = "/etc/imgbuild/registry-ca.crt"

// pullPhases make a node that cannot do its work without the registry say so,
// and wait. It comes last: the node is one of the cluster all the same.
func (m *machine) pullPhases() []Phase {
	if m.node.PullsFrom == "" {
		return nil
	}
	return []Phase{{Name: "registry", Done: never, Run: func(ctx context.Context) error {
		return m.host.wait(ctx, gateLimit, m.registryAnswers)
	}}}
}

// registryAnswers wants an answer of the registry, with a certificate that
// containerd will take, too.
func (m *machine) registryAnswers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, path := range []string{node.CAPath, registryCAPath} {
		if ca, err := m.host.read(path); err == nil {
			pool.AppendCertsFromPEM(ca)
		}
	}
	url := "https://" + m.node.PullsFrom + "/v2/"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: m.host.Dial, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, Time: m.host.Now},
	}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("waiting for the registry that this node's images come from: %w", bare(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("waiting for the registry that this node's images come from: %s: HTTP %d", url, response.StatusCode)
	}
	return nil
}
