package firstboot

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheServiceTestIsBetweenTwoNodes(t *testing.T) {
	f, c := newHA(t, "master-1", "stacked")
	founder(f, c)
	var web, peer object
	dial := f.host.Dial
	f.host.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if o, ok := c.objects[testNamespace+"/pods/peer"]; ok {
			peer, web = o, c.objects[testNamespace+"/pods/web"]
		}
		return dial(ctx, network, address)
	}
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Contains(t, f.console.String(), strings.Join([]string{
		"imgbuild: check pod passed (10.244.0.5 answers, from worker-1)",
		"imgbuild: check pod-to-pod passed (10.244.0.6 on master-1 reaches 10.244.0.5 on worker-1)",
		"imgbuild: check clusterip passed (10.96.7.7 answers)",
		"imgbuild: check dns passed (web.imgbuild-test.svc.cluster.local is 10.96.7.7, which answers)",
		"imgbuild: check endpoint passed (10.77.0.10:6443 answers)",
		"imgbuild: service test passed (up ",
	}, "\n"))
	assert.Equal(t, object{"kubernetes.io/hostname": "worker-1"}, web["spec"].(object)["nodeSelector"])
	assert.Equal(t, object{"kubernetes.io/hostname": "master-1"}, peer["spec"].(object)["nodeSelector"])
	assert.NotContains(t, c.objects, testNamespace+"/pods/peer", "the service test cleans up")
}

func TestTheServiceTestWaitsForASecondNode(t *testing.T) {
	f, c := newHA(t, "master-1", "stacked")
	founder(f, c)
	works := f.programs["kubeadm"]
	f.programs["kubeadm"] = func(cmd Command) error {
		err := works(cmd)
		c.nodeObject("worker-1", "False", "w", object{})
		return err
	}
	sleep := f.host.Sleep
	f.host.Sleep = func(ctx context.Context, d time.Duration) error {
		if strings.Contains(f.console.String(), "phase service-test retry") {
			c.nodeObject("worker-1", "True", "w", object{})
		}
		return sleep(ctx, d)
	}
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Contains(t, f.console.String(), "imgbuild: phase service-test retry (waiting for another node to be ready: the test is between pods of two nodes; next in 1s)\n")
	assert.Contains(t, f.console.String(), "imgbuild: service test passed")
}

func TestTheOtherNodeIsRatherNoMaster(t *testing.T) {
	f, c := newHA(t, "master-1", "stacked")
	f.joinFiles()
	c.start()
	m := f.machine()
	_, err := m.otherNode(t.Context())
	assert.EqualError(t, err, "waiting for another node to be ready: the test is between pods of two nodes")
	master := object{controlPlaneLabel: ""}
	c.nodeObject("a-master", "True", "x", master)
	c.nodeObject("a-worker", "False", "x", object{})
	other, err := m.otherNode(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "a-master", other)
	c.nodeObject("a-worker", "True", "x", object{})
	other, err = m.otherNode(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "a-worker", other)
}

// A node that died between two attempts leaves a pod that cannot be moved.
func TestAPodOfAnEarlierAttemptIsReplaced(t *testing.T) {
	f, c := newHA(t, "master-1", "stacked")
	f.joinFiles()
	c.start()
	m := f.machine()
	client, err := m.client()
	require.NoError(t, err)
	path := testNamespace + "/pods/web"
	there, err := removeOther(t.Context(), client, path, "node", "worker-1")
	require.NoError(t, err)
	assert.False(t, there)
	c.put(path, object{"metadata": object{"labels": object{"node": "worker-1"}}})
	there, err = removeOther(t.Context(), client, path, "node", "worker-1")
	require.NoError(t, err)
	assert.True(t, there)
	_, err = removeOther(t.Context(), client, path, "node", "worker-2")
	assert.EqualError(t, err, "waiting for a pod of an earlier attempt to end")
	assert.NotContains(t, c.objects, path)
}

// A pod has its address before its program runs: "connection refused" is not why.
func TestAPodThatDoesNotRunIsSaid(t *testing.T) {
	f, c := newHA(t, "master-1", "stacked")
	f.joinFiles()
	c.start()
	m := f.machine()
	pod := func(spec, status object) error {
		c.put(testNamespace+"/pods/peer", object{"spec": spec, "status": status})
		_, err := m.podOfTest(t.Context(), "peer")
		return err
	}
	here := object{"nodeName": "master-1"}
	waiting := object{"waiting": object{"reason": "RunContainerError", "message": "context deadline exceeded"}}
	assert.EqualError(t, pod(object{}, object{}), "the pod peer is not scheduled")
	assert.EqualError(t, pod(here, object{}), "the pod peer on master-1 has no address")
	assert.EqualError(t, pod(here, object{"podIP": peerAddress, "containerStatuses": []object{{"state": waiting}}}),
		"the pod peer does not run: RunContainerError context deadline exceeded")
	assert.NoError(t, pod(here, object{"podIP": peerAddress, "containerStatuses": []object{{"state": object{"running": object{}}}}}))
}
