package firstboot

import (
	"context"
	"strings"
)

const (
	corednsPath   = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
	corednsConfig = "/api/v1/namespaces/kube-system/configmaps/coredns"
)

// corednsChange is what kubeadm's CoreDNS lacks for this cluster.
type corednsChange struct {
	// replicas is to be 1: a second one on the only node helps nobody.
	replicas bool
	// corefile is to replace the one that is there; empty where that is right.
	corefile string
}

func (m *machine) corednsChange(ctx context.Context) (corednsChange, error) {
	client, err := m.client()
	if err != nil {
		return corednsChange{}, err
	}
	var deployment struct {
		Spec struct {
			Replicas int `json:"replicas"`
		} `json:"spec"`
	}
	if err := client.get(ctx, corednsPath, &deployment); err != nil {
		return corednsChange{}, err
	}
	var config struct {
		Data map[string]string `json:"data"`
	}
	if err := client.get(ctx, corednsConfig, &config); err != nil {
		return corednsChange{}, err
	}
	change := corednsChange{replicas: m.node.Topology == "single" && deployment.Spec.Replicas > 1}
	if !m.hasNameServer() {
		have := config.Data["Corefile"]
		if want := withoutForward(have); want != have {
			change.corefile = want
		}
	}
	return change, nil
}

func (m *machine) corednsDone(ctx context.Context) (bool, error) {
	change, err := m.corednsChange(ctx)
	return change == corednsChange{}, err
}

// setUpCoreDNS runs before there is a pod network, so before CoreDNS starts.
func (m *machine) setUpCoreDNS(ctx context.Context) error {
	change, err := m.corednsChange(ctx)
	if err != nil {
		return err
	}
	client, err := m.client()
	if err != nil {
		return err
	}
	if change.replicas {
		if err := client.merge(ctx, corednsPath+"/scale", object{"spec": object{"replicas": 1}}); err != nil {
			return err
		}
	}
	if change.corefile != "" {
		return client.merge(ctx, corednsConfig, object{"data": object{"Corefile": change.corefile}})
	}
	return nil
}

// hasNameServer says whether the node knows a name server to forward to.
func (m *machine) hasNameServer() bool {
	data, _ := m.host.read(resolvedConf)
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "nameserver" {
			return true
		}
	}
	return false
}

// withoutForward takes the plugin forward out of a Corefile. CoreDNS refuses to
// start where it has nobody to forward to, as in a network without name servers.
func withoutForward(corefile string) string {
	var kept strings.Builder
	inside := false
	for line := range strings.Lines(corefile) {
		text := strings.TrimSpace(line)
		switch {
		case inside:
			inside = text != "}"
		case strings.HasPrefix(text, "forward "):
			inside = strings.HasSuffix(text, "{")
		default:
			kept.WriteString(line)
		}
	}
	return kept.String()
}
