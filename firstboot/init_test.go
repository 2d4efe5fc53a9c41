package firstboot

import (
	"crypto/tls"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kubeadmRuns counts the runs of kubeadm.
func kubeadmRuns(f *fake) int {
	return strings.Count(strings.Join(f.ran, "\n"), "kubeadm init --config /run/imgbuild/kubeadm.yaml --skip-token-print")
}

func TestAnInitThatIsDoneIsNotRunAgain(t *testing.T) {
	f := newFake(t)
	f.kubeadmFiles()
	f.remove(superAdmin)
	done, err := f.machine().initDone(t.Context())
	require.NoError(t, err)
	assert.True(t, done, "the API has not started yet")

	c := newCluster(t, f)
	c.start()
	done, err = f.machine().initDone(t.Context())
	require.NoError(t, err)
	assert.True(t, done)

	delete(c.objects, "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy")
	done, err = f.machine().initDone(t.Context())
	require.NoError(t, err)
	assert.False(t, done, "where the API answers it has the last word")
}

func TestAnInterruptedInitIsRepairedAndRunAgain(t *testing.T) {
	f, _ := firstBoot(t)
	f.kubeadmFiles()
	f.file(manifests+"/etcd.yaml", "")
	f.file(scheduler, "")
	f.remove(kubeletConfig)
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Equal(t, 1, kubeadmRuns(f))
	assert.Contains(t, f.ran, "systemctl stop kubelet.service")
	config, err := f.host.read(kubeadmConfigPath)
	require.NoError(t, err)
	assert.Contains(t, string(config), "- DirAvailable--var-lib-etcd")
	assert.NotContains(t, string(config), "- all")
}

func TestAFirstInitIgnoresNoPreflightError(t *testing.T) {
	f, _ := firstBoot(t)
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	config, err := f.host.read(kubeadmConfigPath)
	require.NoError(t, err)
	assert.NotContains(t, string(config), "ignorePreflightErrors")
	info, err := os.Stat(f.host.path(kubeadmConfigPath))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestAMasterWithOneCPUGoesOnAndSaysSo(t *testing.T) {
	f, _ := firstBoot(t)
	f.host.CPUs = 1
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	config, err := f.host.read(kubeadmConfigPath)
	require.NoError(t, err)
	assert.Contains(t, string(config), "ignorePreflightErrors:\n  - NumCPU\n")
	assert.Contains(t, f.console.String(), "warning: a master with 1 CPU is slow")
}

func TestAFinishedInitWithoutItsLastStepRunsNoKubeadm(t *testing.T) {
	f, c := firstBoot(t)
	f.kubeadmFiles() // and super-admin.conf: the power went before it was removed
	f.programs["systemctl"] = func(cmd Command) error {
		if strings.Contains(cmd.String(), "start kubelet") {
			c.start()
			c.network()
		}
		return nil
	}
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Zero(t, kubeadmRuns(f))
	assert.NoFileExists(t, f.host.path(superAdmin))
}

// tlsServer only shakes hands.
func tlsServer(t *testing.T, ca *authority) string {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{ca.pair(t)}})
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func(c net.Conn) { c.(*tls.Conn).Handshake(); c.Close() }(conn)
		}
	}()
	return listener.Addr().String()
}
