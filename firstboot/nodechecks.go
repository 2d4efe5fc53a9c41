package firstboot

import (
	"context"
	"errors"
	"fmt"
)

// runNodeChecks is this node's part of the service test: whether its own
// kube-proxy and network carry it to the API and to pods of other nodes. It is
// cheap and run in every boot. What only the cluster as a whole can show is the
// first master's, see runServiceTest.
func (m *machine) runNodeChecks(ctx context.Context) error {
	result, err := m.runChecks(ctx, []namedCheck{
		{"endpoint", m.checkAPIEndpoint},
		{"clusterip", m.checkAPIService},
		{"dns", m.checkAPIName},
	})
	if err != nil {
		return err
	}
	if !result.Passed {
		return errors.New("this node does not reach the cluster: " + failedChecks(result))
	}
	return nil
}

// checkAPIEndpoint asks the API as the whole cluster reaches it.
func (m *machine) checkAPIEndpoint(ctx context.Context) (string, error) {
	return m.askAPIAt(ctx, m.endpoint())
}

// checkAPIService asks it by the address of its Service.
func (m *machine) checkAPIService(ctx context.Context) (string, error) {
	address, err := m.clusterIP(ctx, "default", "kubernetes")
	if err != nil {
		return "", err
	}
	return m.askAPIAt(ctx, hostPort(address, 443))
}

func (m *machine) askAPIAt(ctx context.Context, address string) (string, error) {
	if _, err := m.client(); err != nil { // which finds out who we are
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := newAPI("https://"+address, m.who, m.host.Dial).get(ctx, "/readyz", nil); err != nil {
		return "", err
	}
	return address + " answers", nil
}

// checkAPIName asks the cluster's DNS by the address of its Service: behind it
// are pods, on other nodes unless they happen to be here.
func (m *machine) checkAPIName(ctx context.Context) (string, error) {
	name := "kubernetes.default.svc." + m.node.Kubernetes.DNSDomain
	want, err := m.clusterIP(ctx, "default", "kubernetes")
	if err != nil {
		return "", err
	}
	return m.resolves(ctx, name, want)
}

// resolves wants a name to have the address of its Service.
func (m *machine) resolves(ctx context.Context, name, want string) (string, error) {
	address, err := m.lookUp(ctx, name)
	if err != nil {
		return "", err
	}
	if address != want {
		return "", fmt.Errorf("%s is %s, but the Service has %s", name, address, want)
	}
	return name + " is " + address, nil
}
