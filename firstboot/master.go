package firstboot

import (
	"context"
	"time"
)

const (
	// apiLimit is how long one attempt waits for something of the cluster
	// before it says what.
	apiLimit = 2 * time.Minute
	// controlPlaneLabel is the last thing that kubeadm init gives the node.
	controlPlaneLabel = "node-role.kubernetes.io/control-plane"
)

// masterPhases make the first master of a cluster.
func (m *machine) masterPhases() []Phase {
	phases := []Phase{
		{Name: "kubelet", Done: m.kubeletDone, Run: m.startKubelet},
		{Name: "init", Done: m.initDone, Run: m.runInit},
		{Name: "api", Done: never, Run: m.waitAPI},
		{Name: "coredns", Done: m.corednsDone, Run: m.setUpCoreDNS},
	}
	if m.node.Kubernetes.CNI == "flannel" {
		phases = append(phases, Phase{Name: "network", Done: m.networkDone, Run: m.writeNetwork})
	}
	return append(phases,
		Phase{Name: "addons", Done: m.addonsDone, Run: m.applyAddons},
		Phase{Name: "node", Done: never, Run: m.waitNode},
		Phase{Name: "service-test", Done: m.serviceTestDone, Run: m.runServiceTest},
	)
}

// never is for phases whose Run only looks and says when it has seen.
func never(context.Context) (bool, error) { return false, nil }

// kubeletDone says whether there is nothing to start: a node without a
// kubelet's configuration gets its kubelet from kubeadm. One that is started
// earlier fails again and again.
func (m *machine) kubeletDone(ctx context.Context) (bool, error) {
	if len(m.faults()) > 0 {
		return true, nil
	}
	return m.host.call(ctx, "systemctl", "is-active", "--quiet", "kubelet.service") == nil, nil
}

func (m *machine) startKubelet(ctx context.Context) error {
	return m.host.call(ctx, "systemctl", "start", "kubelet.service")
}

// waitAPI waits until this node's API server says that it is ready.
func (m *machine) waitAPI(ctx context.Context) error {
	err := m.host.wait(ctx, apiLimit, m.askAPI)
	if err == nil {
		m.reached("api answers", func(s *Status, up float64) { s.Seconds.API = up })
	}
	return err
}

func (m *machine) askAPI(ctx context.Context) error {
	client, err := m.client()
	if err != nil {
		return err
	}
	return client.get(ctx, "/readyz", nil)
}

// initialised says whether kubeadm init went to its end: what its phases leave
// in the cluster, in their order.
func (m *machine) initialised(ctx context.Context) (bool, error) {
	client, err := m.client()
	if err != nil {
		return false, err
	}
	var self struct {
		Metadata struct {
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
	}
	for _, step := range []struct {
		path string
		out  any
	}{
		{"/api/v1/namespaces/kube-system/configmaps/kubeadm-config", nil},
		{"/api/v1/nodes/" + m.node.Name, &self},
		{"/api/v1/namespaces/kube-public/configmaps/cluster-info", nil},
		{"/apis/apps/v1/namespaces/kube-system/deployments/coredns", nil},
		{"/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy", nil},
	} {
		err := client.get(ctx, step.path, step.out)
		if notFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	_, labelled := self.Metadata.Labels[controlPlaneLabel]
	return labelled, nil
}
