package firstboot

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
)

// workerTest is a worker whose cluster is up and takes its token.
func workerTest(t *testing.T) (*fake, *fakeCluster) {
	f, c := newHA(t, "worker-1", "stacked")
	c.up()
	c.network()
	c.tokens = []string{workerToken(t, f)}
	f.programs["kubeadm"] = func(Command) error {
		config, err := os.Stat(f.host.path(kubeadmConfigPath))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), config.Mode().Perm())
		f.advance(9 * time.Second)
		f.workerFiles()
		f.remove(bootstrapConf)
		c.node("True")
		return nil
	}
	return f, c
}

func TestAWorkerJoinsAndSaysEveryStep(t *testing.T) {
	f, c := workerTest(t)
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	golden(t, "worker.console", f.console.String())
	assert.Equal(t, 1, joins(f))
	assert.NoFileExists(t, f.host.path(kubeadmConfigPath), "it has the token")
	assert.NotContains(t, f.journal.String()+strings.Join(f.ran, " "), workerToken(t, f)[7:])
	assert.FileExists(t, f.host.path(cniConfig))
	for _, r := range c.requests {
		assert.True(t, allowedForNode(r), "a node may not ask this: %s", r)
	}

	f.console.Reset()
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.NotContains(t, f.console.String(), "phase join")
	assert.Equal(t, 1, joins(f))
}

// allowedForNode: what the node authorizer (k8s.io/kubernetes,
// plugin/pkg/auth/authorizer/node) lets a node ask, and before that its token.
func allowedForNode(request string) bool {
	for _, prefix := range []string{
		"GET /readyz", "GET /api/v1/nodes/worker-1", "GET /api/v1/namespaces/kube-system/configmaps/kubeadm-config",
		"GET /api/v1/namespaces/kube-system/services/", "GET /api/v1/namespaces/default/services/",
	} {
		if strings.HasPrefix(request, prefix) {
			return true
		}
	}
	return strings.Contains(request, "/pods?") && strings.Contains(request, "fieldSelector=spec.nodeName%3Dworker-1")
}

func TestAWorkerWaits(t *testing.T) {
	for _, c := range []struct {
		name, phase string
		spoil       func(f *fake, c *fakeCluster)
		want        string
	}{
		{"for the masters", "api", func(f *fake, _ *fakeCluster) { delete(f.dial, testEndpoint+":6443") },
			"waiting for the API at 10.77.0.10:6443: connection refused"},
		{"for a balancer of its own cluster", "api", func(f *fake, _ *fakeCluster) {
			f.dial[testEndpoint+":6443"] = tlsServer(f.t, newAuthority(f.t, "other"))
		}, "waiting for the API at 10.77.0.10:6443: tls: failed to verify certificate"},
		{"for its token", "join", func(_ *fake, c *fakeCluster) { c.tokens = nil }, "waiting for a master to renew the token of worker-1"},
		{"for the init to end", "join", func(_ *fake, c *fakeCluster) {
			delete(c.objects, "/api/v1/namespaces/kube-system/configmaps/kubeadm-config")
		}, "waiting for the first master to finish its init"},
		{"for its old node to be gone", "join", func(_ *fake, c *fakeCluster) {
			c.nodeObject("worker-1", "True", "an older boot", object{})
		}, "waiting for the old node worker-1 to be seen as not ready"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, cluster := workerTest(t)
			c.spoil(f, cluster)
			f.until("phase " + c.phase + " retry")
			require.ErrorIs(t, Run(t.Context(), f.host, "v0.1.0"), errEnough)
			assert.Contains(t, f.console.String(), "imgbuild: phase "+c.phase+" retry ("+c.want)
			assert.Zero(t, joins(f))
			assert.NotContains(t, strings.Join(f.ran, "\n"), "kubelet.service")
		})
	}
}

func TestAWorkerTriesForDaysUntilItsTokenIsThere(t *testing.T) {
	f, c := workerTest(t)
	token := c.tokens
	c.tokens = nil
	sleep, attempts := f.host.Sleep, 0
	f.host.Sleep = func(ctx context.Context, d time.Duration) error {
		if attempts++; attempts == 50 {
			f.advance(48 * time.Hour)
		}
		if attempts == 100 {
			c.tokens = token
		}
		return sleep(ctx, d)
	}
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Contains(t, f.console.String(), "imgbuild: ready (up ")
}

func TestAWorkerRefusesWhatWasDeliveredWrong(t *testing.T) {
	for want, spoil := range map[string]func(f *fake){
		"/etc/imgbuild/token is not a bootstrap token":                        func(f *fake) { f.file(node.TokenPath, "hello") },
		"the CA that Ignition delivered has the pin sha256:":                  func(f *fake) { f.file(node.CAPath, newAuthority(f.t, "other").certPEM) },
		"secret /etc/imgbuild/token is empty":                                 func(f *fake) { f.file(node.TokenPath, "\n") },
		"secret /etc/imgbuild/ca.crt is not PEM: render the config of worker": func(f *fake) { f.file(node.CAPath, "x") },
	} {
		f, _ := workerTest(t)
		spoil(f)
		require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
		assert.Contains(t, f.console.String(), "imgbuild: stop: "+want)
		assert.NotContains(t, f.console.String(), "hello")
	}
}

func TestAnInterruptedWorkerJoinGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(f *fake)
		joins int
	}{
		"before the kubelet was started": {func(f *fake) { f.file(bootstrapConf, ""); f.file(pki+"/ca.crt", "") }, 1},
		"no certificate yet":             {func(f *fake) { f.workerFiles(); f.remove(kubeletConf); f.file(bootstrapConf, "x") }, 1},
		"an empty kubelet config":        {func(f *fake) { f.workerFiles(); f.file(kubeletConfig, "") }, 1},
		"another cluster's kubelet.conf": {func(f *fake) {
			f.workerFiles()
			f.cas["ca"], f.cas["own"] = newAuthority(f.t, "other"), f.cas["ca"]
			f.file(kubeletConf, f.kubeconfig("kubelet"))
			f.cas["ca"] = f.cas["own"]
		}, 1},
		"only the token was left": {func(f *fake) { f.workerFiles(); f.file(bootstrapConf, "x") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f, cluster := workerTest(t)
			c.spoil(f)
			if c.joins == 0 {
				cluster.node("True")
			}
			works, config := f.programs["kubeadm"], ""
			f.programs["kubeadm"] = func(cmd Command) error {
				text, err := f.host.read(kubeadmConfigPath)
				require.NoError(t, err)
				config = string(text)
				return works(cmd)
			}
			require.NoError(t, Run(t.Context(), f.host, "v0.1.0"), f.console.String())
			assert.Equal(t, c.joins, joins(f))
			assert.NoFileExists(t, f.host.path(bootstrapConf))
			if c.joins > 0 {
				assert.Contains(t, config, "- FileAvailable--etc-kubernetes-pki-ca.crt")
				assert.NotContains(t, config, "- all")
			} else {
				assert.True(t, slices.Contains(f.ran, "systemctl start kubelet.service") || slices.Contains(f.ran, "systemctl is-active --quiet kubelet.service"))
			}
		})
	}
}

// A worker that was off for longer than its certificate lives joins again.
func TestAnExpiredCertificateIsAFault(t *testing.T) {
	f, _ := workerTest(t)
	f.workerFiles()
	m := f.machine()
	assert.Empty(t, m.faults())
	f.advance(10 * 365 * 24 * time.Hour)
	assert.Equal(t, "/etc/kubernetes/kubelet.conf client certificate: has expired", describeFaults(m.faults()))
}

func TestANodeThatDoesNotReachAServiceSaysSo(t *testing.T) {
	f, _ := workerTest(t)
	delete(f.dial, apiService+":443")
	f.until("phase service retry")
	require.ErrorIs(t, Run(t.Context(), f.host, "v0.1.0"), errEnough)
	assert.Contains(t, f.console.String(), "imgbuild: check endpoint passed (10.77.0.10:6443 answers)\n")
	assert.Contains(t, f.console.String(), "imgbuild: check clusterip failed (the API at https://10.96.0.1:443: connection refused)\n")
	assert.Contains(t, f.console.String(), "imgbuild: phase service retry (this node does not reach the cluster: clusterip: ")
}
