package firstboot

import (
	"context"
	"time"

	"imgbuild/cluster/node"
)

const (
	// apiLimit is how long one attempt waits for something of the cluster
	// before it says what.
	apiLimit = 2 * time.Minute
	// controlPlaneLabel is the last thing that kubeadm init gives the node.
	controlPlaneLabel = "node-role.kubernetes.io/control-plane"
)

// masterPhases make a master: the first one of a cluster, or one more.
//
// A master that also balances the API (node.Balancer) does that first: others
// reach the API through it, and so does this one once it joins.
func (m *machine) masterPhases() []Phase {
	var phases []Phase
	if m.node.Balancer != nil {
		phases = m.balancerPhases()
	}
	phases = append(phases, Phase{Name: "kubelet", Done: m.kubeletDone, Run: m.runKubelet})
	if !m.stackedEtcd() {
		phases = append(phases, gate(m.host, "etcd", 0, m.checkEtcd))
	}
	if m.node.InitMaster {
		phases = append(phases, Phase{Name: "init", Done: m.initDone, Run: m.runInit})
	} else {
		phases = append(phases, Phase{Name: "join", Done: m.joinDone, Run: m.runJoin})
	}
	phases = append(phases, Phase{Name: "api", Done: never, Run: m.waitAPI})
	if m.node.InitMaster {
		phases = append(phases, Phase{Name: "coredns", Done: m.corednsDone, Run: m.setUpCoreDNS})
	}
	phases = append(phases, m.networkPhases()...)
	if m.node.InitMaster {
		phases = append(phases, m.addonPhase("addons", addonsDir))
	}
	if len(m.node.Joining) > 0 {
		phases = append(phases, Phase{Name: "tokens", Done: m.tokensDone, Run: m.updateTokens})
	}
	phases = append(phases, Phase{Name: "node", Done: never, Run: m.waitNode})
	if m.node.InitMaster {
		phases = append(phases, Phase{Name: "service-test", Done: m.serviceTestDone, Run: m.runServiceTest})
		if m.host.exists(node.ImageStorageDir) {
			// Last: its objects are many, and nobody's joining waits for them.
			phases = append(phases, m.addonPhase("storage", node.ImageStorageDir, node.StorageDir))
		}
		return phases
	}
	return append(phases, Phase{Name: "service", Done: never, Run: m.runNodeChecks})
}

// networkPhases are none where the user brings the network.
func (m *machine) networkPhases() []Phase {
	if m.node.Kubernetes.CNI != "flannel" {
		return nil
	}
	return []Phase{{Name: "network", Done: m.networkDone, Run: m.writeNetwork}}
}

// never is for phases whose Run only looks and says when it has seen.
func never(context.Context) (bool, error) { return false, nil }

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
	var self nodeObject
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
