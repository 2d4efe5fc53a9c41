package firstboot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	// discoveryPath is the kubeconfig that a joining master shows. It is in
	// memory only and goes when the join has ended.
	discoveryPath = "/run/imgbuild/discovery.conf"
	// syncEvery is how often what kubeadm join has written is put on the disk:
	// kubeadm does not sync, and once this node's etcd votes a power cut must
	// not take the files that it starts from.
	syncEvery = 5 * time.Second
)

// joinDone says whether this master is one of the cluster's, as far as the
// system shows: its files are complete, its node is marked as a master, its
// member of etcd votes, and it no longer keeps others from joining. Where its
// own API does not answer yet runJoin finds out.
func (m *machine) joinDone(ctx context.Context) (bool, error) {
	if len(m.faults()) > 0 {
		return false, nil
	}
	client, err := m.client()
	if err != nil {
		return false, err
	}
	if joined, err := m.joined(ctx, client); err != nil || !joined {
		return false, nil // runJoin asks again and says why
	}
	return m.keepsNobody(ctx), nil
}

// keepsNobody says whether this master has given its turn to join back, or has
// never had it. The power may have been cut just before.
func (m *machine) keepsNobody(ctx context.Context) bool {
	if len(m.node.Masters) == 1 {
		return true
	}
	client, err := m.client()
	if err != nil {
		return false
	}
	held, err := m.holdsLease(ctx, client)
	return err == nil && !held
}

// joined asks the cluster whether this master's join went to its end.
func (m *machine) joined(ctx context.Context, client *api) (bool, error) {
	self, err := m.self(ctx, client)
	if notFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, labelled := self.Metadata.Labels[controlPlaneLabel]; !labelled || !m.stackedEtcd() {
		return labelled, nil
	}
	etcd, err := m.etcd()
	if err != nil {
		return false, err
	}
	members, err := etcd.members(ctx)
	if err != nil {
		return false, err
	}
	own, found := findMember(members, m.node.Name, m.node.Address)
	return found && own.settled(), nil
}

// runJoin joins this master, or finds that it has joined. It may have been
// interrupted at any instant before: kubeadm join runs over what it has left.
func (m *machine) runJoin(ctx context.Context) error {
	if client, ok := m.joinedBefore(ctx); ok {
		return m.endJoin(ctx, client)
	}
	client, err := m.clusterClient(ctx)
	if err != nil {
		return err
	}
	faults := m.faults()
	if len(faults) == 0 {
		if done, err := m.joined(ctx, client); err != nil {
			return err
		} else if done {
			return fmt.Errorf("waiting for this node's own API: %w", m.askAPI(ctx))
		}
	}
	running, err := m.notAlive(ctx, client, faults)
	if err != nil {
		return err
	}
	if err := m.takeLease(ctx, client); err != nil {
		return err
	}
	if err := m.kubeadmJoin(ctx, client, faults, running); err != nil {
		m.calm(ctx)
		m.yieldLease(ctx, client)
		return err
	}
	if client, err = m.client(); err != nil {
		return err
	}
	if done, err := m.joined(ctx, client); err != nil {
		return err
	} else if !done {
		return errors.New("kubeadm join has ended, but this node is not a whole master yet")
	}
	return m.endJoin(ctx, client)
}

// joinedBefore gives a master with complete files the time to start, and asks
// its own API whether there is anything left to do.
func (m *machine) joinedBefore(ctx context.Context) (*api, bool) {
	if len(m.faults()) > 0 || m.startKubelet(ctx) != nil {
		return nil, false
	}
	limit := min(apiLimit, duration(m.node.Timeouts.API, apiLimit))
	if m.host.wait(ctx, limit, m.askAPI) != nil {
		return nil, false
	}
	client, err := m.client()
	if err != nil {
		return nil, false
	}
	done, err := m.joined(ctx, client)
	return client, err == nil && done
}

// endJoin lets the next master join.
func (m *machine) endJoin(ctx context.Context, client *api) error {
	if err := m.removeSuperAdmin(); err != nil { // of an init that another master overtook
		return err
	}
	if err := m.removeBootstrap(); err != nil {
		return err
	}
	return m.dropLease(ctx, client)
}

// clusterClient reaches the cluster at its endpoint as an administrator, once
// there is a cluster that can be joined. It is one attempt.
func (m *machine) clusterClient(ctx context.Context) (*api, error) {
	if err := m.checkEndpoint(ctx); err != nil {
		return nil, err
	}
	ca, err := m.clusterCA()
	if err != nil {
		return nil, err
	}
	admin, err := m.deriveAdmin()
	if err != nil {
		return nil, err
	}
	who, err := admin.credentials(ca)
	if err != nil {
		return nil, err
	}
	client := newAPI("https://"+m.endpoint(), who, m.host.Dial)
	for _, path := range m.madeByTheFirst() {
		if err := client.get(ctx, path, nil); err != nil {
			return nil, fmt.Errorf("waiting for the first master to finish its init: %w", err)
		}
	}
	return client, nil
}

// madeByTheFirst are objects without which nobody joins: what kubeadm init
// leaves last of what kubeadm join reads, and the last that the first master
// makes. Until then its one member of etcd has no other to wait for, which on a
// slow machine is what decides.
func (m *machine) madeByTheFirst() []string {
	paths := []string{
		"/api/v1/namespaces/kube-system/configmaps/kubeadm-config",
		"/api/v1/namespaces/kube-system/configmaps/kubelet-config",
		"/api/v1/namespaces/kube-public/configmaps/cluster-info",
	}
	if m.node.Kubernetes.CNI == "flannel" {
		paths = append(paths, flannelPath)
	}
	return paths
}

// notAlive wants this node's object to be of no living node: kubeadm join
// refuses a name that is Ready. running says that it is alive but this very
// node, in this boot, and complete: then only the rest of the join is left.
func (m *machine) notAlive(ctx context.Context, client *api, faults []fault) (running bool, err error) {
	self, err := m.self(ctx, client)
	if notFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if ok, _ := ready(self.Status.Conditions); !ok {
		return false, nil
	}
	boot, err := m.bootID()
	if err != nil {
		return false, err
	}
	if self.Status.NodeInfo.BootID != boot {
		return false, fmt.Errorf("waiting for the old node %s to be seen as not ready: it was ready before this machine was started", m.node.Name)
	}
	if len(faults) == 0 {
		return true, nil
	}
	if err := m.host.call(ctx, "systemctl", "stop", "kubelet.service"); err != nil {
		return false, err
	}
	return false, fmt.Errorf("waiting for node %s to be seen as not ready: it is to join again, since %s", m.node.Name, describeFaults(faults))
}

// kubeadmJoin runs kubeadm join once.
func (m *machine) kubeadmJoin(ctx context.Context, client *api, faults []fault, running bool) error {
	if m.stackedEtcd() {
		if err := m.clearMember(ctx); err != nil {
			return err
		}
	}
	ignore, err := m.clearWay(ctx, faults)
	if err != nil {
		return err
	}
	options := joinOptions{ignore: ignore}
	if running {
		options.skip = []string{"kubelet-start"}
	}
	config, err := joinConfig(m.node, options)
	if err != nil {
		return err
	}
	if err := m.writeDiscovery(); err != nil {
		return err
	}
	defer os.Remove(m.host.path(discoveryPath))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.host.Every(ctx, syncEvery, func(context.Context) { m.host.Sync() })
	m.host.Every(ctx, leaseRenewal, func(ctx context.Context) {
		if err := m.renewLease(ctx, client); err != nil {
			m.console.log("imgbuild: lease " + leaseName + ": " + err.Error())
		}
	})
	return m.runJoinConfig(ctx, config)
}

// calm stops the kubelet of a master that waits for another attempt, where it
// has no etcd yet: it would start an API server without one again and again, and
// take the time of those that have a cluster to run. kubeadm starts it again.
func (m *machine) calm(ctx context.Context) {
	if m.stackedEtcd() && m.host.etcdDisk() == etcdNone {
		_ = m.host.call(ctx, "systemctl", "stop", "kubelet.service")
	}
}

// runJoinConfig is kubeadm join; its configuration may hold a token.
func (m *machine) runJoinConfig(ctx context.Context, config []byte) error {
	if err := m.host.write(kubeadmConfigPath, config, 0o600); err != nil {
		return err
	}
	defer os.Remove(m.host.path(kubeadmConfigPath))
	return m.kubeadm(ctx, "join", "--config", m.host.path(kubeadmConfigPath))
}

func (m *machine) writeDiscovery() error {
	ca, err := m.clusterCA()
	if err != nil {
		return err
	}
	admin, err := m.deriveAdmin()
	if err != nil {
		return err
	}
	text, err := admin.kubeconfig(m.node.Cluster, "https://"+m.endpoint(), ca)
	if err != nil {
		return fmt.Errorf("%s: %w", discoveryPath, err)
	}
	return m.host.write(discoveryPath, text, 0o600)
}
