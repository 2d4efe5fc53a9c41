package firstboot

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
)

// cniConfig is the only network configuration of a node. containerd takes the
// first file of the folder by name.
const cniConfig = "/etc/cni/net.d/10-imgbuild.conflist"

// flannelPath is the last object of the add-on flannel.
const flannelPath = "/apis/apps/v1/namespaces/kube-flannel/daemonsets/kube-flannel-ds"

// vxlanOverhead is what flannel's VXLAN takes of each packet.
const vxlanOverhead = 50

// networkDone compares the file with what it would be now: a node that was
// deleted and made again has another range.
func (m *machine) networkDone(ctx context.Context) (bool, error) {
	want, err := m.network(ctx)
	if err != nil {
		return false, nil // writeNetwork waits for it and says so
	}
	have, err := m.host.read(cniConfig)
	return err == nil && bytes.Equal(have, want), nil
}

func (m *machine) writeNetwork(ctx context.Context) error {
	var config []byte
	err := m.host.wait(ctx, apiLimit, func(ctx context.Context) (err error) {
		config, err = m.network(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return m.host.write(cniConfig, config, 0o644)
}

// network is the CNI configuration that flannel's own plugin would make: a
// bridge with the node's range. flanneld does the rest: the tunnels to the other
// nodes and the masquerading.
func (m *machine) network(ctx context.Context) ([]byte, error) {
	client, err := m.client()
	if err != nil {
		return nil, err
	}
	self, err := m.self(ctx, client)
	if err != nil {
		return nil, err
	}
	if self.Spec.PodCIDR == "" {
		return nil, fmt.Errorf("waiting for the controller manager to give node %s a range of %s", m.node.Name, m.node.Kubernetes.PodSubnet)
	}
	uplink, err := m.ownInterface()
	if err != nil {
		return nil, err
	}
	return cniConflist(self.Spec.PodCIDR, uplink.MTU-vxlanOverhead)
}

// cniConflist: cni.dev, "bridge", "host-local" and "portmap".
func cniConflist(podCIDR string, mtu int) ([]byte, error) {
	config := object{
		"cniVersion": "1.0.0",
		"name":       "cbr0",
		"plugins": []object{
			{
				"type":        "bridge",
				"bridge":      "cni0",
				"mtu":         mtu,
				"isGateway":   true,
				"hairpinMode": true,
				"ipMasq":      false, // flanneld masquerades
				"ipam": object{
					"type":   "host-local",
					"ranges": [][]object{{{"subnet": podCIDR}}},
					"routes": []object{{"dst": "0.0.0.0/0"}},
				},
			},
			{
				"type":         "portmap",
				"backend":      "nftables", // a node has no iptables
				"capabilities": object{"portMappings": true},
			},
		},
	}
	data, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("CNI configuration: %w", err)
	}
	return append(data, '\n'), nil
}
