package firstboot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// waitNode waits until the kubelet of this boot has reported a ready node, the
// pods that make its network are ready, and the cluster's DNS answers.
func (m *machine) waitNode(ctx context.Context) error {
	if err := m.host.wait(ctx, apiLimit, m.nodeReady); err != nil {
		return err
	}
	if m.report.status.Seconds.Node == 0 { // once, however often the rest is tried
		m.reached("node ready", func(s *Status, up float64) { s.Seconds.Node = up })
	}
	if err := m.host.wait(ctx, apiLimit, m.podsReady); err != nil {
		return err
	}
	return m.host.wait(ctx, apiLimit, m.dnsAnswers)
}

// condition is one of a node's or a pod's.
type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Message string `json:"message"`
}

// ready finds the condition Ready and says why it is not true.
func ready(conditions []condition) (ok bool, message string) {
	for _, c := range conditions {
		if c.Type == "Ready" {
			return c.Status == "True", c.Message
		}
	}
	return false, ""
}

// nodeObject is what is read of nodes.
type nodeObject struct {
	Metadata struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		PodCIDR       string `json:"podCIDR"`
		Unschedulable bool   `json:"unschedulable"`
	} `json:"spec"`
	Status struct {
		Conditions []condition `json:"conditions"`
		NodeInfo   struct {
			BootID string `json:"bootID"`
		} `json:"nodeInfo"`
	} `json:"status"`
}

// self is this node as a client sees it.
func (m *machine) self(ctx context.Context, client *api) (nodeObject, error) {
	var self nodeObject
	return self, client.get(ctx, "/api/v1/nodes/"+m.node.Name, &self)
}

// bootID names this boot.
func (m *machine) bootID() (string, error) {
	data, err := m.host.read("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("boot identifier: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// nodeReady compares boot identifiers: right after a boot the API still has
// what the kubelet said before it.
func (m *machine) nodeReady(ctx context.Context) error {
	client, err := m.client()
	if err != nil {
		return err
	}
	self, err := m.self(ctx, client)
	if err != nil {
		return err
	}
	boot, err := m.bootID()
	if err != nil {
		return err
	}
	if self.Status.NodeInfo.BootID != boot {
		return errors.New("waiting for the kubelet to report this boot")
	}
	if ok, message := ready(self.Status.Conditions); !ok {
		return fmt.Errorf("waiting for node %s to be ready: %s", m.node.Name, orNone(message))
	}
	return nil
}

// podList is what is read of pods.
type podList struct {
	Items []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Status struct {
			Conditions []condition `json:"conditions"`
		} `json:"status"`
	} `json:"items"`
}

// podsReady wants what makes the network of this node, and nothing that users
// may have added.
func (m *machine) podsReady(ctx context.Context) error {
	wanted := []struct{ namespace, label string }{{"kube-system", "k8s-app=kube-proxy"}}
	if m.node.Kubernetes.CNI == "flannel" {
		wanted = append(wanted, struct{ namespace, label string }{"kube-flannel", "app=flannel"})
	}
	client, err := m.client()
	if err != nil {
		return err
	}
	for _, w := range wanted {
		query := url.Values{"labelSelector": {w.label}, "fieldSelector": {"spec.nodeName=" + m.node.Name}}
		var pods podList
		if err := client.get(ctx, "/api/v1/namespaces/"+w.namespace+"/pods?"+query.Encode(), &pods); err != nil {
			return err
		}
		if len(pods.Items) == 0 {
			return fmt.Errorf("waiting for a pod %s in namespace %s on this node", w.label, w.namespace)
		}
		for _, pod := range pods.Items {
			if ok, message := ready(pod.Status.Conditions); !ok {
				return fmt.Errorf("waiting for pod %s to be ready: %s", pod.Metadata.Name, orNone(message))
			}
		}
	}
	return nil
}

// dnsAnswers asks the cluster's DNS by its service address. The answer proves
// that CoreDNS runs now and that kube-proxy has set this node up; what the API
// says of pods may be from before the boot.
func (m *machine) dnsAnswers(ctx context.Context) error {
	_, err := m.lookUp(ctx, "kubernetes.default.svc."+m.node.Kubernetes.DNSDomain)
	return err
}

// lookUp resolves a name with the cluster's DNS and no other.
func (m *machine) lookUp(ctx context.Context, name string) (string, error) {
	server, err := m.clusterIP(ctx, "kube-system", "kube-dns")
	if err != nil {
		return "", err
	}
	address, err := m.lookUpAt(ctx, hostPort(server, 53), name)
	if err != nil {
		return "", fmt.Errorf("waiting for the cluster's DNS at %s: %w", server, err)
	}
	return address, nil
}

// lookUpAt resolves a name with one DNS server.
func (m *machine) lookUpAt(ctx context.Context, server, name string) (string, error) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return m.host.Dial(ctx, network, server)
	}}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	found, err := resolver.LookupNetIP(ctx, "ip4", name+".")
	if err != nil {
		return "", err
	}
	return found[0].Unmap().String(), nil
}

// clusterIP is the address of a Service.
func (m *machine) clusterIP(ctx context.Context, namespace, name string) (string, error) {
	client, err := m.client()
	if err != nil {
		return "", err
	}
	var service struct {
		Spec struct {
			ClusterIP string `json:"clusterIP"`
		} `json:"spec"`
	}
	if err := client.get(ctx, "/api/v1/namespaces/"+namespace+"/services/"+name, &service); err != nil {
		return "", err
	}
	return service.Spec.ClusterIP, nil
}
