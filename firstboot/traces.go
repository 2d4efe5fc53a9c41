package firstboot

import (
	"context"
	"slices"
	"strings"
)

// clearWay removes what is useless of an earlier run of kubeadm, and says which
// preflight errors are none for this node: those that the traces of that run
// will cause, and that a master has a single processor. It is slow then, and a
// node that stops is slower still. A first run on a large enough machine ignores
// none.
func (m *machine) clearWay(ctx context.Context, faults []fault) (ignore []string, err error) {
	if m.interrupted() {
		ignore = ownTraces(m.node.Role, m.node.Topology)
		// A running kubelet makes an empty file of a kubeconfig that a static
		// pod mounts. It may be in no state to stop; kubeadm stops it too.
		if len(faults) > 0 {
			_ = m.host.call(ctx, "systemctl", "stop", "kubelet.service")
		}
	}
	if m.node.Role == roleMaster && m.host.CPUs == 1 {
		m.console.say("warning: a master with 1 CPU is slow: kubeadm wants 2")
		ignore = append(ignore, "NumCPU")
	}
	return ignore, m.repair(faults)
}

// interrupted says whether an earlier kubeadm has left traces.
func (m *machine) interrupted() bool {
	if m.node.Role == roleMaster && m.stackedEtcd() && m.host.etcdDisk() != etcdNone {
		return true
	}
	return slices.ContainsFunc(traces(m.node.Role, m.node.Topology), m.host.exists)
}

// traces are the files of kubeadm that stand in the way of its next run, and
// the kubelet's configuration, after which the kubelet's port is taken.
func traces(role, topology string) []string {
	files := []string{kubeletConfig, bootstrapConf, kubeletConf}
	if role != roleMaster {
		return append(files, pki+"/ca.crt")
	}
	for _, name := range staticPods(topology) {
		files = append(files, manifests+"/"+name+".yaml")
	}
	return files
}

// ownTraces are the preflight errors that an interrupted kubeadm causes for the
// next one, and nothing else.
func ownTraces(role, topology string) []string {
	errors := []string{"Port-10250"}
	for _, file := range traces(role, topology) {
		if file != kubeletConfig {
			errors = append(errors, "FileAvailable-"+strings.ReplaceAll(file, "/", "-"))
		}
	}
	if role != roleMaster {
		return errors
	}
	errors = append(errors, "Port-6443", "Port-10257", "Port-10259")
	if topology == "external-etcd" {
		return errors
	}
	return append(errors, "DirAvailable--var-lib-etcd", "Port-2379", "Port-2380")
}
