package firstboot

import (
	"context"
	"crypto/x509"
	"fmt"

	"imgbuild/cluster/node"
)

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
	for _, path := range []string{node.CAPath, node.RegistryCAPath} {
		if ca, err := m.host.read(path); err == nil {
			pool.AppendCertsFromPEM(ca)
		}
	}
	a, err := m.askV2(ctx, m.node.PullsFrom, pool)
	if err == nil {
		err = a.failed()
	}
	if err != nil {
		return fmt.Errorf("waiting for the registry that this node's images come from: %w", err)
	}
	return nil
}
