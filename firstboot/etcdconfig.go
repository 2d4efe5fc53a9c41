package firstboot

import (
	"fmt"
	"maps"
	"strings"

	"sigs.k8s.io/yaml"

	"imgbuild/cluster/node"
)

const (
	etcdConfigPath = "/etc/etcd/etcd.yaml"
	// etcdQuota is etcd's own default, said aloud. It may be raised to 8 GiB, what
	// etcd's documentation calls the most for a normal machine ("System
	// limits"); memory and the snapshots' disk have to grow with it.
	etcdQuota = 2 << 30
)

// etcdStart is what a member without data is told of its cluster. One that has
// data does not read it again.
type etcdStart struct {
	// existing is true where the cluster is there already and knows this member.
	existing bool
	// members in the order of the list.
	members []node.Peer
}

// etcdConfig is the configuration of this node's member. Keys: etcd v3.6,
// "Configuration options"; in a file they are those of the flags.
func etcdConfig(n node.Node, start etcdStart) ([]byte, error) {
	state := "new"
	if start.existing {
		state = "existing"
	}
	var cluster []string
	for _, member := range start.members {
		cluster = append(cluster, member.Name+"="+peerURL(member.Address))
	}
	client := etcdURL(n.Address, etcdClientPort)
	peer := peerURL(n.Address)
	config := object{
		"name":                        n.Name,
		"data-dir":                    etcdData,
		"listen-client-urls":          client + "," + etcdURL("127.0.0.1", etcdClientPort),
		"advertise-client-urls":       client,
		"listen-peer-urls":            peer,
		"initial-advertise-peer-urls": peer,
		"listen-metrics-urls":         "http://127.0.0.1:2381",
		"initial-cluster":             strings.Join(cluster, ","),
		"initial-cluster-state":       state,
		"initial-cluster-token":       n.Cluster,
		"client-transport-security":   etcdSecurity("server"),
		"peer-transport-security":     etcdSecurity("peer"),
		"quota-backend-bytes":         etcdQuota,
		// API servers compact every five minutes (kube-apiserver,
		// --etcd-compaction-interval). This is for when none runs: what is older
		// goes away all the same, as etcd's documentation wants ("Maintenance").
		"auto-compaction-mode":      "periodic",
		"auto-compaction-retention": "8h",
		// These two are kubeadm's for its own etcd.
		"snapshot-count": 10000,
		"feature-gates":  "InitialCorruptCheck=true",
		// A member whose disk was lost asks the others through it.
		"enable-grpc-gateway": true,
	}
	maps.Copy(config, etcdPace(n))
	text, err := yaml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("etcd's configuration: %w", err)
	}
	return append([]byte("# Written by imgbuild-firstboot.\n"), text...), nil
}

// etcdSecurity takes nobody without a certificate of etcd's CA.
func etcdSecurity(pair string) object {
	return object{
		"cert-file":        node.EtcdPKI + "/" + pair + ".crt",
		"key-file":         node.EtcdPKI + "/" + pair + ".key",
		"trusted-ca-file":  node.EtcdPKI + "/ca.crt",
		"client-cert-auth": true,
	}
}

func etcdURL(host string, port int) string { return "https://" + hostPort(host, port) }
