package firstboot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// firstBoot is a machine whose kubeadm makes a cluster that works.
func firstBoot(t *testing.T) (*fake, *fakeCluster) {
	f := newFake(t)
	c := newCluster(t, f)
	flannel, err := os.ReadFile("../roles/parts/cni-flannel/rootfs/usr/share/imgbuild/addons/flannel.yaml")
	require.NoError(t, err)
	f.file(addonsDir+"/flannel.yaml", string(flannel))
	f.programs["kubeadm"] = func(cmd Command) error {
		say := func(line string) { fmt.Fprintln(cmd.Stdout, line); f.advance(1200 * time.Millisecond) }
		say("[init] Using Kubernetes version: v1.36.3")
		say("[certs] Generating \"apiserver\" certificate and key")
		say("[certs] apiserver serving cert is signed for DNS names [master-1]")
		f.kubeadmFiles()
		say("[bootstrap-token] Using token: abcdef.0123456789abcdef")
		c.start()
		c.network()
		return nil
	}
	return f, c
}

func TestFirstBootEndsReadyAndSaysEveryStep(t *testing.T) {
	f, c := firstBoot(t)
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	golden(t, "first-boot.console", f.console.String())
	assert.NotContains(t, f.journal.String(), "abcdef.0123456789abcdef", "no token in the journal")
	assert.NoFileExists(t, f.host.path(superAdmin))
	assert.NotContains(t, c.objects, testNamespace, "the service test cleans up")
	assert.EqualValues(t, 1, c.objects[corednsPath]["spec"].(object)["replicas"])
	config := c.objects["/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg"]["data"].(object)
	assert.Contains(t, config["net-conf.json"], `"10.244.0.0/16"`)
	cni, err := f.host.read(cniConfig)
	require.NoError(t, err)
	golden(t, "10-imgbuild.conflist", string(cni))
	status, err := f.host.read(StatusPath)
	require.NoError(t, err)
	golden(t, "status.json", string(status))
}

func TestALaterBootFindsEverythingDone(t *testing.T) {
	f, _ := firstBoot(t)
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	f.console.Reset()
	f.ran = nil
	f.remove("/run/imgbuild/status.json")

	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	golden(t, "later-boot.console", f.console.String())
	assert.NotContains(t, strings.Join(f.ran, "\n"), "kubeadm")
	s, err := ReadStatus(f.host)
	require.NoError(t, err)
	assert.Equal(t, StateReady, s.State)
	require.NotNil(t, s.ServiceTest)
	assert.True(t, s.ServiceTest.Passed, "the result of the first boot is still known")
}

func TestAFailedCheckIsSaidAndTriedAgain(t *testing.T) {
	f, c := firstBoot(t)
	c.broken[serviceAddress] = true
	ctx, cancel := context.WithCancel(t.Context())
	sleep := f.host.Sleep
	f.host.Sleep = func(ctx context.Context, d time.Duration) error {
		if strings.Contains(f.console.String(), "phase service-test retry") {
			cancel()
		}
		return sleep(ctx, d)
	}
	require.ErrorIs(t, Run(ctx, f.host, "v0.1.0"), context.Canceled)
	assert.Contains(t, f.console.String(), "imgbuild: check pod passed (10.244.0.5 answers)\n")
	assert.Contains(t, f.console.String(), "imgbuild: check clusterip failed (http://10.96.7.7:8080/health: HTTP 503)\n")
	assert.NotContains(t, f.console.String(), "service test passed")
	s, err := ReadStatus(f.host)
	require.NoError(t, err)
	assert.False(t, s.ServiceTest.Passed)
	assert.Contains(t, c.objects, testNamespace, "what failed stays to be looked at")
}

func TestAStopEndsWithOneLineAndWithoutAnError(t *testing.T) {
	f := newFake(t)
	f.remove(pki + "/ca.key")
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	golden(t, "stop.console", f.console.String())
	s, err := ReadStatus(f.host)
	require.NoError(t, err)
	assert.Equal(t, StateStopped, s.State)
	assert.Equal(t, "secrets", s.Phase)
	assert.Contains(t, s.WaitingFor, "/etc/kubernetes/pki/ca.key is missing")
}

func TestRolesThatAreNotKnownStop(t *testing.T) {
	f := newFake(t)
	n, i := testNode(), testImageFile()
	n.Role, i.Role, n.InitMaster = "gateway", "gateway", false
	f.identity(n, i)
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Contains(t, f.console.String(), "imgbuild: stop: node master-1 has the role gateway: this agent knows the roles: master, worker, rook, lb, etcd, harbor\n")
	assert.Empty(t, f.ran, "nothing of containers is asked on a node without a kubelet")
}

func TestAFailingKubeadmIsTriedAgainWithItsReason(t *testing.T) {
	f, _ := firstBoot(t)
	works, attempts := f.programs["kubeadm"], 0
	f.programs["kubeadm"] = func(c Command) error {
		if attempts++; attempts > 1 {
			return works(c)
		}
		fmt.Fprint(c.Stderr, "error: error execution phase preflight: no memory\nTo see the stack trace of this error execute with --v=5 or higher\n")
		return errors.New("exit status 1")
	}
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Contains(t, f.console.String(),
		"imgbuild: phase init retry (kubeadm init: exit status 1: error: error execution phase preflight: no memory; next in 1s)\n")
	assert.Contains(t, f.console.String(), "imgbuild: ready (up ")
}
