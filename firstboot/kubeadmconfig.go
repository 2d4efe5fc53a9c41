package firstboot

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"imgbuild/cluster/node"
)

const (
	kubeadmAPI = "kubeadm.k8s.io/v1beta4"
	criSocket  = "unix://" + containerdSocket
	// apiPort is where each master's own API server listens.
	apiPort = 6443
	// volumePlugins replaces a default below /usr, which is read-only.
	volumePlugins = "/var/lib/kubelet/volumeplugins"
	// resolvedConf lists systemd-resolved's upstream servers. Where kubeadm
	// finds resolved running it would choose it too; it must exist either way.
	resolvedConf = "/run/systemd/resolve/resolv.conf"
)

// object is a piece of YAML or JSON.
type object = map[string]any

// kubeadmConfig is the input of kubeadm init. Fields: kubeadm-config.v1beta4.
// ignore names the preflight errors that are none for this node.
func kubeadmConfig(n node.Node, ignore []string) ([]byte, error) {
	var all bytes.Buffer
	for i, doc := range []object{
		initConfiguration(n, ignore), clusterConfiguration(n), kubeletConfiguration(n), proxyConfiguration(n),
	} {
		text, err := yaml.Marshal(doc)
		if err != nil {
			return nil, fmt.Errorf("kubeadm configuration: %w", err)
		}
		if i > 0 {
			all.WriteString("---\n")
		}
		all.Write(text)
	}
	return all.Bytes(), nil
}

func initConfiguration(n node.Node, ignore []string) object {
	config := object{
		"apiVersion": kubeadmAPI,
		"kind":       "InitConfiguration",
		// kubeadm always makes a token. Nobody ever sees this one, so it
		// goes away at once; tokens that are used are made when they are needed.
		"bootstrapTokens":  []object{{"description": "not used", "ttl": "1m0s"}},
		"skipPhases":       []string{"show-join-command"},
		"localAPIEndpoint": object{"advertiseAddress": n.Address, "bindPort": apiPort},
		"nodeRegistration": registration(n, ignore),
		"timeouts":         timeouts(n),
	}
	usePatches(n, config)
	return config
}

// registration is what the node is called and how its kubelet runs.
func registration(n node.Node, ignore []string) object {
	r := object{
		"name":      n.Name,
		"criSocket": criSocket,
		// Every image is baked; a pull would only hide that one is missing.
		"imagePullPolicy":  "Never",
		"kubeletExtraArgs": kubeletArgs(n),
	}
	if len(ignore) > 0 {
		r["ignorePreflightErrors"] = ignore
	}
	var taints []any
	for _, t := range n.Taints {
		taints = append(taints, object{"key": t.Key, "value": t.Value, "effect": t.Effect})
	}
	switch {
	case len(taints) > 0:
		r["taints"] = taints
	case n.Role == roleMaster && !n.Kubernetes.MasterTaint:
		r["taints"] = []any{} // without the field kubeadm taints a master
	}
	return r
}

// timeouts of one attempt; attempts themselves are unlimited.
func timeouts(n node.Node) object {
	return object{
		"controlPlaneComponentHealthCheck": n.Timeouts.API,
		"kubeletHealthCheck":               n.Timeouts.API,
		"kubernetesAPICall":                n.Timeouts.API,
		"etcdAPICall":                      n.Timeouts.Etcd,
	}
}

func clusterConfiguration(n node.Node) object {
	apiServer := object{}
	if len(n.Kubernetes.CertSANs) > 0 {
		apiServer["certSANs"] = n.Kubernetes.CertSANs
	}
	if args := apiArgs(n); args != nil {
		apiServer["extraArgs"] = args
	}
	config := object{
		"apiVersion":           kubeadmAPI,
		"kind":                 "ClusterConfiguration",
		"clusterName":          n.Cluster,
		"kubernetesVersion":    n.Kubernetes.Version,
		"controlPlaneEndpoint": hostPort(n.Endpoint.Host, n.Endpoint.Port),
		"encryptionAlgorithm":  "ECDSA-P256",
		"apiServer":            apiServer,
		"networking": object{
			"podSubnet":     n.Kubernetes.PodSubnet,
			"serviceSubnet": n.Kubernetes.ServiceSubnet,
			"dnsDomain":     n.Kubernetes.DNSDomain,
		},
	}
	if len(n.Etcd) > 0 {
		config["etcd"] = object{"external": externalEtcd(n)}
	} else if args := etcdArgs(n); args != nil {
		config["etcd"] = object{"local": object{"extraArgs": args}}
	}
	if args := controllerArgs(n); args != nil {
		config["controllerManager"] = object{"extraArgs": args}
	}
	if args := leaseArgs(n); args != nil {
		config["scheduler"] = object{"extraArgs": args}
	}
	return config
}

// externalEtcd is how API servers reach the etcd of other machines. kubeadm
// then makes no etcd of its own and no certificates for one.
func externalEtcd(n node.Node) object {
	var endpoints []string
	for _, e := range n.Etcd {
		endpoints = append(endpoints, etcdURL(e.Address, etcdClientPort))
	}
	return object{
		"endpoints": endpoints,
		"caFile":    pki + "/etcd/ca.crt",
		"certFile":  etcdClient + ".crt",
		"keyFile":   etcdClient + ".key",
	}
}

// kubeletConfiguration is what all nodes of Kubernetes share.
func kubeletConfiguration(n node.Node) object {
	config := anyKubelet(n)
	config["serverTLSBootstrap"] = false
	return config
}

// anyKubelet is what every kubelet has, with an API server or without one.
func anyKubelet(n node.Node) object {
	config := object{
		"apiVersion":   "kubelet.config.k8s.io/v1beta1",
		"kind":         "KubeletConfiguration",
		"cgroupDriver": "systemd",
		// Its chains are for kube-proxy's iptables mode, and it looks after them
		// every minute.
		"makeIPTablesUtilChains":   false,
		"containerRuntimeEndpoint": criSocket,
		"resolvConf":               resolvedConf,
		"volumePluginDir":          volumePlugins,
	}
	if limit := runtimeTimeout(n); limit != "" {
		config["runtimeRequestTimeout"] = limit
	}
	return config
}

func proxyConfiguration(n node.Node) object {
	return object{
		"apiVersion":  "kubeproxy.config.k8s.io/v1alpha1",
		"kind":        "KubeProxyConfiguration",
		"mode":        "nftables",
		"clusterCIDR": n.Kubernetes.PodSubnet,
	}
}

// kubeletArgs are the kubelet's own flags: what differs from node to node and
// so cannot be in the configuration that all nodes share.
func kubeletArgs(n node.Node) []object {
	args := []object{{"name": "node-ip", "value": n.Address}}
	var labels []string
	for key, value := range n.Labels {
		labels = append(labels, key+"="+value)
	}
	slices.Sort(labels)
	if len(labels) > 0 {
		args = append(args, object{"name": "node-labels", "value": strings.Join(labels, ",")})
	}
	return args
}
