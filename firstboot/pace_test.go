package firstboot

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPace(t *testing.T) {
	n := testNode()
	n.Topology = "stacked"
	assert.Empty(t, etcdArgs(n), "etcd's own default")
	assert.Empty(t, leaseArgs(n), "Kubernetes' own default")
	assert.Empty(t, controllerArgs(n), "the same")
	assert.NotContains(t, kubeletConfiguration(n), "runtimeRequestTimeout", "the same")
	assert.Equal(t, "5s", readyTimeout(n).String())

	n.Timeouts.Heartbeat = "1s"
	assert.Equal(t, []object{
		argument("election-timeout", "10000"), argument("heartbeat-interval", "1000"),
		argument("warning-apply-duration", "1s"), argument("watch-progress-notify-interval", "50s"),
	}, etcdArgs(n))
	assert.Equal(t, []object{
		argument("leader-elect-lease-duration", "1m0s"),
		argument("leader-elect-renew-deadline", "45s"),
		argument("leader-elect-retry-period", "6s"),
	}, leaseArgs(n))
	assert.Equal(t, append(leaseArgs(n), argument("node-monitor-grace-period", "2m0s")), controllerArgs(n))
	assert.Equal(t, "10m0s", kubeletConfiguration(n)["runtimeRequestTimeout"])
	assert.Equal(t, "10m0s", harborKubeletConfig(n)["runtimeRequestTimeout"], "a kubelet without an API server")
	assert.Equal(t, "20s", readyTimeout(n).String())
	assert.Equal(t, []object{argument("etcd-healthcheck-timeout", "10s"), argument("etcd-readycheck-timeout", "10s")}, apiArgs(n))

	all := patches(n)
	assert.Len(t, all, 4)
	assert.Equal(t, []object{{
		"name":           "etcd",
		"resources":      object{"requests": object{"cpu": "300m"}},
		"livenessProbe":  object{"failureThreshold": int64(80), "timeoutSeconds": int64(60)},
		"readinessProbe": object{"periodSeconds": int64(10), "timeoutSeconds": int64(60)},
	}}, all["etcd+strategic.yaml"]["spec"].(object)["containers"])
	manager := all["kube-controller-manager+strategic.yaml"]["spec"].(object)["containers"].([]object)
	assert.NotContains(t, manager[0], "readinessProbe", "it has none that could be changed")
	n.Role = "worker"
	assert.Empty(t, patches(n))

	n.Role, n.Topology, n.Timeouts.Heartbeat = "master", "single", ""
	assert.Empty(t, patches(n))
	assert.Len(t, leaseArgs(n), 3, "nobody else could take over")
}
