package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// apiAddress is this machine's: all of 127.0.0.0/8 is.
const apiAddress = "127.77.0.71"

// apiServer is a real API server with an etcd of its own.
type apiServer struct {
	t                   *testing.T
	kubectl, kubeconfig string
}

// adminKubeconfig is for the one token that the server knows.
const adminKubeconfig = `{apiVersion: v1, kind: Config, current-context: test,
  clusters: [{name: test, cluster: {server: "https://%s:6443", insecure-skip-tls-verify: true}}],
  users: [{name: test, user: {token: "%s"}}],
  contexts: [{name: test, context: {cluster: test, user: test}}]}
`

func newAPIServer(w *world) *apiServer {
	w.t.Helper()
	dir := w.t.TempDir()
	kubernetes := filepath.Join(w.component("kubernetes", w.cache), "bin")
	key := filepath.Join(dir, "sa.key")
	output(w.t, "openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
	token := rand.Text()
	require.NoError(w.t, os.WriteFile(filepath.Join(dir, "tokens"), []byte(token+",admin,1,system:masters\n"), 0o600))
	api := &apiServer{t: w.t, kubectl: filepath.Join(kubernetes, "kubectl"), kubeconfig: filepath.Join(dir, "kubeconfig")}
	require.NoError(w.t, os.WriteFile(api.kubeconfig, fmt.Appendf(nil, adminKubeconfig, apiAddress, token), 0o600))
	background(w.t, dir, filepath.Join(w.component("etcd", w.cache), "bin", "etcd"), "--data-dir", filepath.Join(dir, "etcd"),
		"--listen-client-urls", "http://"+apiAddress+":2379", "--advertise-client-urls", "http://"+apiAddress+":2379",
		"--listen-peer-urls", "http://"+apiAddress+":2380")
	background(w.t, dir, filepath.Join(kubernetes, "kube-apiserver"), "--etcd-servers", "http://"+apiAddress+":2379",
		"--bind-address", apiAddress, "--advertise-address", apiAddress, "--secure-port", "6443", "--cert-dir", filepath.Join(dir, "certs"),
		"--service-cluster-ip-range", "10.96.0.0/24", "--authorization-mode", "RBAC", "--token-auth-file", filepath.Join(dir, "tokens"),
		"--service-account-issuer", "https://test", "--service-account-key-file", key, "--service-account-signing-key-file", key)
	require.Eventually(w.t, func() bool {
		_, err := api.run("", "get", "--raw", "/readyz")
		return err == nil
	}, 3*time.Minute, 500*time.Millisecond, "the API server does not start: see %s", dir)
	return api
}

// background runs a program until the test ends.
func background(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, filepath.Base(program)+".log"))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // It was killed.
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s said last:\n%s", filepath.Base(program), tail(string(text), 20))
		}
	})
}

func (a *apiServer) run(input string, args ...string) (string, error) {
	cmd := exec.CommandContext(a.t.Context(), a.kubectl, append([]string{"--kubeconfig", a.kubeconfig, "--cache-dir", filepath.Join(filepath.Dir(a.kubeconfig), "cache")}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// TestRooksAPITakesEveryExample gives what imgbuild rook prints to a real API
// server with Rook's own CRDs, which refuses fields that it does not know.
func TestRooksAPITakesEveryExample(t *testing.T) {
	w := newWorld(t)
	api := newAPIServer(w)
	examples, err := filepath.Glob("../storage/testdata/*.cluster.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, examples)

	lock, err := os.ReadFile(filepath.Join(w.dir, "imgbuild.lock"))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "imgbuild.lock"), lock, 0o644))
	for i, example := range examples {
		text, err := os.ReadFile(example)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "cluster.yaml"), text, 0o644))
		args := []string{"-c", filepath.Join(dir, "cluster.yaml"), "rook"}
		cephCluster := w.must(append(args, "--cluster-only")...)
		objects := cephCluster
		if i == 0 {
			objects = w.must(args...)
		}
		if i == 0 {
			// The kinds of the last object are those of the first: a second call has them.
			_, _ = api.run(objects, "apply", "--server-side", "-f", "-")
			_, err := api.run("", "wait", "--for=condition=established", "--timeout=1m", "crd/cephclusters.ceph.rook.io")
			require.NoError(t, err)
		}
		out, err := api.run(objects, "apply", "--server-side", "--validate=strict", "--force-conflicts", "-f", "-")
		require.NoError(t, err, out)
		assert.Contains(t, out, "cephcluster.ceph.rook.io/rook-ceph serverside-applied")

		out, err = api.run(strings.Replace(cephCluster, "useAllDevices:", "useAllDisks:", 1), "apply", "--server-side", "--validate=strict", "-f", "-")
		assert.Error(t, err)
		assert.Contains(t, out, "useAllDisks", "the server would have said what is wrong")
	}
	out, err := api.run("", "-n", "rook-ceph", "get", "deployment,cephcluster", "-o", "name")
	require.NoError(t, err, out)
	assert.Contains(t, out, "deployment.apps/rook-ceph-operator")
	assert.Contains(t, out, "deployment.apps/ceph-csi-controller-manager")
}

// TestKubernetesTakesHarborsPod gives the pod that the agent writes to a real API
// server: what a kubelet without one would refuse is said here.
func TestKubernetesTakesHarborsPod(t *testing.T) {
	w := newWorld(t)
	api := newAPIServer(w)
	require.Eventually(t, func() bool {
		_, err := api.run("", "get", "namespace", "default")
		return err == nil
	}, time.Minute, 500*time.Millisecond)
	// The service account that no kubelet of its own has.
	_, err := api.run("", "create", "serviceaccount", "default")
	require.NoError(t, err)
	for _, name := range []string{"harbor-pod.yaml", "harbor-external-pod.yaml"} {
		pod, err := os.ReadFile("../firstboot/testdata/" + name)
		require.NoError(t, err)
		out, err := api.run(string(pod), "apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-")
		require.NoError(t, err, out)
	}
}
