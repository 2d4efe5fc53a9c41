package firstboot

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// upCluster is a machine after kubeadm init with a cluster that answers.
func upCluster(t *testing.T) (*fake, *fakeCluster, *api) {
	f := newFake(t)
	f.kubeadmFiles()
	c := newCluster(t, f)
	c.start()
	client, err := f.machine().client()
	require.NoError(t, err)
	return f, c, client
}

func TestTheClientShowsItsCertificateAndChecksTheServers(t *testing.T) {
	f, _, client := upCluster(t)
	require.NoError(t, client.get(t.Context(), "/readyz", nil))

	stranger := httptest.NewUnstartedServer(http.NotFoundHandler())
	stranger.TLS = &tls.Config{Certificates: []tls.Certificate{newAuthority(t, "other").pair(t)}}
	stranger.StartTLS()
	t.Cleanup(stranger.Close)
	f.dial[testAddress+":6443"] = stranger.Listener.Addr().String()
	fresh, err := f.machine().client()
	require.NoError(t, err)
	assert.ErrorContains(t, fresh.get(t.Context(), "/readyz", nil), "certificate signed by unknown authority")
}

func TestAnAnswerThatIsNoSuccessIsSaidInTheAPIsWords(t *testing.T) {
	_, _, client := upCluster(t)
	err := client.get(t.Context(), "/api/v1/namespaces/x", nil)
	assert.EqualError(t, err, "GET /api/v1/namespaces/x: /api/v1/namespaces/x not found (HTTP 404)")
	assert.True(t, notFound(err))
}

func TestAnAPIThatIsNotReadySaysWhatItLacks(t *testing.T) {
	_, c, client := upCluster(t)
	c.readyz = "[+]ping ok\n[-]etcd failed: reason withheld\n[+]log ok\n[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\nreadyz check failed\n"
	err := client.get(t.Context(), "/readyz", nil)
	assert.EqualError(t, err, "GET /readyz: not ready yet: etcd, poststarthook/rbac/bootstrap-roles (HTTP 500)")
}

func TestAnAPIThatDoesNotListenIsSaidWithItsAddress(t *testing.T) {
	f, _, _ := upCluster(t)
	delete(f.dial, testAddress+":6443")
	client, err := f.machine().client()
	require.NoError(t, err)
	err = client.get(t.Context(), "/readyz", nil)
	assert.EqualError(t, err, "the API at https://10.77.0.11:6443: connection refused")
}

func TestObjectsAreAppliedOnceAndAgainWhenTheyChange(t *testing.T) {
	_, c, client := upCluster(t)
	apply := func(text string) (changed bool) {
		objects, err := parseObjects("x.yaml", []byte(text))
		require.NoError(t, err)
		require.Len(t, objects, 2)
		for _, o := range objects {
			ok, err := applied(t.Context(), client, o)
			require.NoError(t, err)
			changed = changed || !ok
			require.NoError(t, applyObject(t.Context(), client, o))
		}
		return changed
	}
	first := "# comment\napiVersion: v1\nkind: Namespace\nmetadata: {name: space}\n---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: d, namespace: space}\n---\n"
	assert.True(t, apply(first))
	assert.False(t, apply(first))
	assert.True(t, apply(first[:len(first)-4]+"spec: {replicas: 2}\n"))
	assert.Contains(t, c.requests, "PATCH /api/v1/namespaces/space?fieldManager=imgbuild&force=true")
	assert.Contains(t, c.requests, "PATCH /apis/apps/v1/namespaces/space/daemonsets/d?fieldManager=imgbuild&force=true")
}

func TestBrokenObjectsAreRefusedWithTheirPlace(t *testing.T) {
	_, err := parseObjects("x.yaml", []byte("kind: Namespace\napiVersion: v1\nmetadata: {}\n"))
	assert.ErrorContains(t, err, "x.yaml: document 1: expected an object with apiVersion, kind and metadata.name")
	_, err = parseObjects("x.yaml", []byte("a: [\n"))
	assert.ErrorContains(t, err, "x.yaml: document 1")
}

func TestFlannelIsLeftOutWithoutItsCNI(t *testing.T) {
	f := newFake(t)
	data, err := os.ReadFile("../roles/parts/cni-flannel/rootfs/usr/share/imgbuild/addons/flannel.yaml")
	require.NoError(t, err)
	f.file(addonsDir+"/flannel.yaml", string(data))
	objects, err := f.machine().addons([]string{addonsDir})
	require.NoError(t, err)
	assert.Len(t, objects, 6)
	n := testNode()
	n.Kubernetes.CNI = "none"
	f.identity(n, testImageFile())
	objects, err = f.machine().addons([]string{addonsDir})
	require.NoError(t, err)
	assert.Empty(t, objects)
}

func TestCoreDNSWithoutNameServersForwardsNowhere(t *testing.T) {
	f, c, _ := upCluster(t)
	f.file(resolvedConf, "# No DNS servers known.\nsearch .\n")
	m := f.machine()
	done, err := m.corednsDone(t.Context())
	require.NoError(t, err)
	assert.False(t, done)
	require.NoError(t, m.setUpCoreDNS(t.Context()))
	corefile := c.objects[corednsConfig]["data"].(object)["Corefile"].(string)
	assert.NotContains(t, corefile, "forward")
	assert.NotContains(t, corefile, "max_concurrent")
	assert.Contains(t, corefile, "    prometheus :9153\n    cache 30\n")
	done, err = m.corednsDone(t.Context())
	require.NoError(t, err)
	assert.True(t, done)
}

func TestTheNodeIsReadyOnlyOnceThisBootsKubeletSaysSo(t *testing.T) {
	f, c, _ := upCluster(t)
	m := f.machine()
	require.NoError(t, m.nodeReady(t.Context()))
	c.node("False")
	assert.EqualError(t, m.nodeReady(t.Context()), "waiting for node master-1 to be ready: the network is not ready")
	c.node("True")
	f.file("/proc/sys/kernel/random/boot_id", "another\n")
	assert.EqualError(t, m.nodeReady(t.Context()), "waiting for the kubelet to report this boot")
}
