package firstboot

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// kubeadmConfigPath is in memory only: it is made anew for each attempt.
const kubeadmConfigPath = "/run/imgbuild/kubeadm.yaml"

// initDone says whether kubeadm init has been finished on this node.
//
// kubeadm writes super-admin.conf before the last kubeconfig, and runInit
// removes it once the API has shown that init went to its end. So without it
// and with everything else in order init is done, even while the API is still
// starting; where the API answers it has the last word.
func (m *machine) initDone(ctx context.Context) (bool, error) {
	if len(m.faults()) > 0 || m.host.exists(superAdmin) {
		return false, nil
	}
	if done, err := m.initialised(ctx); err == nil {
		return done, nil
	}
	return true, nil
}

// runInit runs kubeadm init until the cluster shows that it went to its end.
func (m *machine) runInit(ctx context.Context) error {
	if err := m.fence(ctx); err != nil {
		return err
	}
	faults := m.faults()
	if done := len(faults) == 0 && m.finishedBefore(ctx); !done {
		if err := m.kubeadmInit(ctx, faults); err != nil {
			return err
		}
	}
	if done, err := m.initialised(ctx); err != nil {
		return err
	} else if !done {
		return errors.New("kubeadm init has ended, but the cluster lacks some of what it makes")
	}
	// A certificate that no RBAC rule can take back has no use from here on.
	if err := os.Remove(m.host.path(superAdmin)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", superAdmin, reason(err))
	}
	return nil
}

// finishedBefore gives the control plane of an interrupted init the time to
// start and to show how far it had come.
func (m *machine) finishedBefore(ctx context.Context) bool {
	if m.startKubelet(ctx) != nil {
		return false
	}
	limit := min(apiLimit, duration(m.node.Timeouts.API, apiLimit))
	if m.host.wait(ctx, limit, m.askAPI) != nil {
		return false
	}
	done, err := m.initialised(ctx)
	return err == nil && done
}

func (m *machine) kubeadmInit(ctx context.Context, faults []fault) error {
	var ignore []string
	if m.interrupted() {
		ignore = ownTraces()
		// A running kubelet makes an empty file of a kubeconfig that a static
		// pod mounts. It may be in no state to stop; kubeadm stops it too.
		if len(faults) > 0 {
			_ = m.host.call(ctx, "systemctl", "stop", "kubelet.service")
		}
	}
	if err := m.repair(faults); err != nil {
		return err
	}
	config, err := kubeadmConfig(m.node, ignore)
	if err != nil {
		return err
	}
	if err := m.host.write(kubeadmConfigPath, config, 0o600); err != nil {
		return err
	}
	return m.kubeadm(ctx, "init", "--config", m.host.path(kubeadmConfigPath), "--skip-token-print")
}

// interrupted says whether an earlier kubeadm init has left traces.
func (m *machine) interrupted() bool {
	traces := []string{etcdMember, kubeletConfig}
	for _, name := range staticPods() {
		traces = append(traces, manifests+"/"+name+".yaml")
	}
	return slices.ContainsFunc(traces, m.host.exists)
}

// ownTraces are the preflight errors that an interrupted init causes for the
// next one, and nothing else. A first init ignores none.
func ownTraces() []string {
	traces := []string{"DirAvailable--var-lib-etcd"}
	for _, name := range staticPods() {
		traces = append(traces, "FileAvailable--etc-kubernetes-manifests-"+name+".yaml")
	}
	return append(traces, "Port-6443", "Port-10250", "Port-10257", "Port-10259", "Port-2379", "Port-2380")
}

// fence keeps a first master that was installed anew from making a second
// cluster: where the endpoint already serves this cluster and this node has no
// member of its etcd, it would have to join.
func (m *machine) fence(ctx context.Context) error {
	if m.host.exists(etcdMember) || m.node.Endpoint.Host == m.node.Address {
		return nil
	}
	ca, err := m.host.readCertificate(pki + "/ca.crt")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	endpoint := hostPort(m.node.Endpoint.Host, m.node.Endpoint.Port)
	conn, err := m.host.Dial(ctx, "tcp", endpoint)
	if err != nil {
		return nil // nobody there: the cluster is still to be made
	}
	defer conn.Close()
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	server := tls.Client(conn, &tls.Config{RootCAs: pool, ServerName: m.node.Endpoint.Host, MinVersion: tls.VersionTLS12})
	if err := server.HandshakeContext(ctx); err != nil {
		return nil // a balancer without a server behind it, or not this cluster
	}
	return Stop{fmt.Sprintf("the API at %s already serves cluster %s, but this node has no member of its etcd: it would have to join, which this version cannot do yet; to make a new cluster, turn the old one off and render new secrets",
		endpoint, m.node.Cluster)}
}
