package firstboot

import (
	"fmt"

	"sigs.k8s.io/yaml"

	"imgbuild/cluster/node"
)

// joinOptions are what one attempt of kubeadm join depends on.
type joinOptions struct {
	// ignore names the preflight errors that are none for this node.
	ignore []string
	// skip names phases that this node is past.
	skip []string
	// token of a node that is no master.
	token string
}

// joinConfig is the input of kubeadm join. Fields: kubeadm-config.v1beta4.
//
// A master proves who it is with a certificate that it has made itself, see
// deriveAdmin: kubeadm need not know that there are tokens, nor upload
// certificates for it, since Ignition delivered them. Every other node has a
// token and the pin of the CA.
func joinConfig(n node.Node, o joinOptions) ([]byte, error) {
	limits := timeouts(n)
	limits["discovery"], limits["tlsBootstrap"] = n.Timeouts.API, n.Timeouts.API
	config := object{
		"apiVersion":       kubeadmAPI,
		"kind":             "JoinConfiguration",
		"nodeRegistration": registration(n, o.ignore),
		"timeouts":         limits,
	}
	if n.Role == roleMaster {
		config["controlPlane"] = object{"localAPIEndpoint": object{"advertiseAddress": n.Address, "bindPort": apiPort}}
		config["discovery"] = object{"file": object{"kubeConfigPath": discoveryPath}}
	} else {
		config["discovery"] = object{"bootstrapToken": object{
			"apiServerEndpoint": hostPort(n.Endpoint.Host, n.Endpoint.Port),
			"token":             o.token,
			"caCertHashes":      []string{n.CAHash},
		}}
	}
	usePatches(n, config)
	if len(o.skip) > 0 {
		config["skipPhases"] = o.skip
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("kubeadm configuration: %w", err)
	}
	return text, nil
}
