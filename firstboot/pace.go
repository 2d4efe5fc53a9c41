package firstboot

import (
	"fmt"
	"time"

	"sigs.k8s.io/yaml"

	"imgbuild/cluster/node"
)

// normalHeartbeat is etcd's own default. Everything below is the default of the
// program that it is for, as long as the heartbeat is.
const normalHeartbeat = 100 * time.Millisecond

// heartbeat is the pace of the cluster: machines that are busy for a second now
// and then must not be taken for dead, since what follows makes them busier.
func heartbeat(n node.Node) time.Duration {
	return max(normalHeartbeat, duration(n.Timeouts.Heartbeat, normalHeartbeat))
}

// election is how long a member of etcd waits for its leader: ten heartbeats
// (etcd's documentation, "Tuning").
func election(n node.Node) time.Duration { return 10 * heartbeat(n) }

// progress is how often etcd tells those who watch nothing that nothing
// happened. API servers answer lists from their caches by it; kubeadm sets 5 s.
// Each of its some hundred watches is a message of its own.
func progress(n node.Node) time.Duration { return 50 * heartbeat(n) }

// etcdPace are etcd's settings of it, as they are in its configuration file:
// the first two are in milliseconds, the others in nanoseconds. What takes
// longer than the last one is logged.
func etcdPace(n node.Node) object {
	return object{
		"heartbeat-interval": heartbeat(n).Milliseconds(), "election-timeout": election(n).Milliseconds(),
		"watch-progress-notify-interval": progress(n).Nanoseconds(), "warning-apply-duration": heartbeat(n).Nanoseconds(),
	}
}

// etcdArgs are the same as flags, for kubeadm's own etcd. None where they are
// the defaults.
func etcdArgs(n node.Node) []object {
	if heartbeat(n) == normalHeartbeat {
		return nil
	}
	return []object{
		argument("election-timeout", fmt.Sprint(election(n).Milliseconds())),
		argument("heartbeat-interval", fmt.Sprint(heartbeat(n).Milliseconds())),
		argument("warning-apply-duration", heartbeat(n).String()),
		argument("watch-progress-notify-interval", progress(n).String()),
	}
}

// leaseArgs are how long the controller manager and the scheduler keep their
// lease. Losing it makes them start again.
func leaseArgs(n node.Node) []object {
	lease := 60 * heartbeat(n)
	if n.Topology == "single" {
		// Nobody else could take over. (Without an election the controller manager
		// gives a starting API 10 s only.)
		lease = max(lease, 40*time.Second)
	}
	if lease <= 15*time.Second { // the default
		return nil
	}
	return []object{
		argument("leader-elect-lease-duration", lease.String()),
		argument("leader-elect-renew-deadline", (lease * 3 / 4).String()),
		argument("leader-elect-retry-period", (lease / 10).String()),
	}
}

// controllerArgs are the controller manager's: its lease, and how long a node may
// say nothing until it is not ready and its pods are taken out of their Services.
// 50 s is the default.
func controllerArgs(n node.Node) []object {
	args := leaseArgs(n)
	if silence := 120 * heartbeat(n); silence > 50*time.Second {
		args = append(args, argument("node-monitor-grace-period", silence.String()))
	}
	return args
}

// runtimeTimeout is how long a kubelet lets containerd start a program, "" for its
// default of 2 min. A start that is broken off begins anew, and is no faster then.
func runtimeTimeout(n node.Node) string {
	if limit := 600 * heartbeat(n); limit > 2*time.Minute {
		return limit.String()
	}
	return ""
}

// apiArgs are how long an API server lets etcd answer before it calls itself
// not ready, which takes it out of the balancers. 2 s is the default.
func apiArgs(n node.Node) []object {
	if heartbeat(n) == normalHeartbeat {
		return nil
	}
	limit := max(2*time.Second, election(n)).String()
	return []object{argument("etcd-healthcheck-timeout", limit), argument("etcd-readycheck-timeout", limit)}
}

// readyTimeout is how long a balancer waits for a master's answer.
func readyTimeout(n node.Node) time.Duration { return max(5*time.Second, 2*election(n)) }

// patchesPath is a folder of patches for the static pods that kubeadm writes.
const patchesPath = "/run/imgbuild/patches"

// share is what a static pod asks for where processors are short. The sum is
// kubeadm's own, but etcd comes before those who wait for it: kubeadm gives it
// the least, and then waits for 2 s only for its list of members.
func share(pod string) string {
	return map[string]string{
		"etcd": "300m", "kube-apiserver": "200m", "kube-controller-manager": "100m", "kube-scheduler": "50m",
	}[pod]
}

// patches are merged into kubeadm's static pods (kubeadm's documentation,
// "Customizing with patches"): file names and content. The kubelet kills a
// program that does not answer its probe for some 80 s. One that only had no
// processor is slower still when it starts again, so its time grows with the
// heartbeat, as does the second between two questions whether it is ready: each
// is a TLS handshake. None where the heartbeat is normal.
func patches(n node.Node) map[string]object {
	slow := int64(heartbeat(n) / normalHeartbeat)
	if slow < 2 || n.Role != roleMaster {
		return nil
	}
	timeout := min(15*slow, 60)
	all := map[string]object{}
	for _, name := range staticPods(n.Topology) {
		container := object{
			"name":          name,
			"livenessProbe": object{"failureThreshold": 8 * slow, "timeoutSeconds": timeout},
			"resources":     object{"requests": object{"cpu": share(name)}},
		}
		if name != "kube-controller-manager" { // it has none
			container["readinessProbe"] = object{"periodSeconds": slow, "timeoutSeconds": timeout}
		}
		all[name+"+strategic.yaml"] = object{
			"apiVersion": "v1", "kind": "Pod",
			"metadata": object{"name": name, "namespace": "kube-system"},
			"spec":     object{"containers": []object{container}},
		}
	}
	return all
}

// writePatches writes them.
func (m *machine) writePatches() error {
	for name, patch := range patches(m.node) {
		text, err := yaml.Marshal(patch)
		if err != nil {
			return fmt.Errorf("patch of a static pod: %w", err)
		}
		if err := m.host.write(patchesPath+"/"+name, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// usePatches adds them to a configuration of kubeadm init or join.
func usePatches(n node.Node, config object) {
	if patches(n) != nil {
		config["patches"] = object{"directory": patchesPath}
	}
}

func argument(name, value string) object { return object{"name": name, "value": value} }
