package firstboot

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// kubeletDone says whether there is nothing to start: a node without a
// kubelet's configuration gets its kubelet from kubeadm. One that is started
// earlier fails again and again.
func (m *machine) kubeletDone(ctx context.Context) (bool, error) {
	if len(m.faults()) > 0 {
		return !m.mustRevive(), nil
	}
	return m.active(ctx, "kubelet.service"), nil
}

// runKubelet starts the kubelet, and before it repairs what that needs where
// kubeadm could not.
func (m *machine) runKubelet(ctx context.Context) error {
	faults := m.faults()
	if len(faults) == 0 {
		return m.startKubelet(ctx)
	}
	if err := m.revive(ctx, faults); err != nil {
		return err
	}
	if err := m.startKubelet(ctx); err != nil {
		return err
	}
	// Repaired files look like those of a finished init, see initDone. The API
	// tells whether they are.
	if m.node.InitMaster && !m.host.joinedEtcd() {
		return m.host.wait(ctx, apiLimit, m.askAPI)
	}
	return nil
}

func (m *machine) startKubelet(ctx context.Context) error {
	return m.host.call(ctx, "systemctl", "start", "kubelet.service")
}

// mustRevive says whether this node's member of etcd has to run before anything
// of the cluster can be asked. After a power cut in a join the others may have
// lost their quorum until this member is back, and kubeadm join asks them first.
func (m *machine) mustRevive() bool {
	return m.node.Role == roleMaster && m.node.Topology == "stacked" &&
		m.host.etcdDisk() == etcdHasData && !m.host.exists(superAdmin)
}

// revive makes the useless files of a master again without asking anyone: it
// has every CA's key. What the member of etcd is part of is in its data, so the
// flags of a new manifest change nothing.
func (m *machine) revive(ctx context.Context, faults []fault) error {
	m.console.say("repairing this master for its member of etcd: %s", describeFaults(faults))
	if err := m.repair(faults); err != nil {
		return err
	}
	config, err := kubeadmConfig(m.node, nil)
	if err != nil {
		return err
	}
	if err := m.host.write(kubeadmConfigPath, config, 0o600); err != nil {
		return err
	}
	for _, phase := range revivals(faults) {
		args := append([]string{"init", "phase"}, phase...)
		if err := m.kubeadm(ctx, append(args, "--config", m.host.path(kubeadmConfigPath))...); err != nil {
			return err
		}
	}
	if faults := m.faults(); len(faults) > 0 {
		return fmt.Errorf("this master cannot be repaired: %s", describeFaults(faults))
	}
	m.host.Sync()
	return nil
}

// revivals are the phases of kubeadm init that make the faulty files, in
// kubeadm's order. None of them asks the cluster.
func revivals(faults []fault) [][]string {
	var phases [][]string
	for _, maker := range []struct {
		prefix string
		phase  []string
	}{
		{pki + "/", []string{"certs", "all"}},
		{adminConf, []string{"kubeconfig", "admin"}},
		{kubeletConf, []string{"kubeconfig", "kubelet"}},
		{etcKubernetes + "/controller-manager.conf", []string{"kubeconfig", "controller-manager"}},
		{scheduler, []string{"kubeconfig", "scheduler"}},
		{manifests + "/etcd", []string{"etcd", "local"}},
		{manifests + "/kube-", []string{"control-plane", "all"}},
		{"/var/lib/kubelet/", []string{"kubelet-start"}},
	} {
		if slices.ContainsFunc(faults, func(f fault) bool { return strings.HasPrefix(f.path, maker.prefix) }) {
			phases = append(phases, maker.phase)
		}
	}
	return phases
}

func describeFaults(faults []fault) string {
	var all []string
	for _, f := range faults {
		all = append(all, f.String())
	}
	return strings.Join(all, ", ")
}
