package firstboot

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
)

// haNode is a node of a cluster with three masters and one worker.
func haNode(name, topology string) node.Node {
	n := testNode()
	n.Name, n.Topology, n.InitMaster = name, topology, name == "master-1"
	n.Endpoint = node.Endpoint{Host: testEndpoint, Port: 6443}
	n.Masters = []node.Peer{{Name: "master-1", Address: "10.77.0.11"}, {Name: "master-2", Address: "10.77.0.12"}, {Name: "master-3", Address: "10.77.0.13"}}
	if topology == "external-etcd" {
		n.Etcd = []node.Peer{{Name: "etcd-1", Address: "10.77.0.31"}, {Name: "etcd-2", Address: "10.77.0.32"}, {Name: "etcd-3", Address: "10.77.0.33"}}
		n.Secrets = append(n.Secrets[:5], etcdClient+".crt", etcdClient+".key")
	}
	for _, p := range n.Masters {
		if p.Name == name {
			n.Address, n.Joining = p.Address, []string{"worker-1"}
		}
	}
	if strings.HasPrefix(name, "worker") {
		n.Role, n.Address = roleWorker, "10.77.0.21"
		n.Secrets = []string{node.CAPath, node.TokenPath}
	}
	return n
}

// newHA is such a node after Ignition, and the cluster that it may find.
func newHA(t *testing.T, name, topology string) (*fake, *fakeCluster) {
	f := newFake(t)
	n, i := haNode(name, topology), testImageFile()
	n.CAHash, i.Role = pinOf(f.cas["ca"].cert), n.Role
	if topology == "external-etcd" {
		f.remove(pki + "/etcd/ca.key")
		cert, key := f.cas["etcd/ca"].issue(t, "apiserver-etcd-client")
		f.file(etcdClient+".crt", cert)
		f.file(etcdClient+".key", key)
	}
	if n.Role == roleWorker {
		f.remove(pki)
		f.file(node.CAPath, f.cas["ca"].certPEM)
		f.file(node.TokenPath, workerToken(t, f)+"\n")
	}
	f.identity(n, i)
	return f, newCluster(t, f)
}

func workerToken(t *testing.T, f *fake) string {
	t.Helper()
	token, err := node.Token(f.cas["ca"].keyPEM, "demo", "worker-1")
	require.NoError(t, err)
	return token
}

// up makes the cluster answer at its endpoint, as other masters serve it.
func (c *fakeCluster) up() {
	c.start()
	delete(c.f.dial, c.f.node.Address+":6443")
	delete(c.objects, "/api/v1/nodes/"+c.f.node.Name)
	c.reach(testEndpoint + ":6443")
	c.put(flannelPath, object{})
}

// joinFiles leaves what a whole kubeadm join leaves on a master.
func (f *fake) joinFiles() {
	f.kubeadmFiles()
	f.remove(superAdmin)
	f.file(manifests+"/etcd.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: etcd\nspec:\n  containers:\n  - name: etcd\n    command: [etcd, --initial-cluster-state=existing]\n")
	if f.node.Topology == "external-etcd" {
		f.remove(manifests + "/etcd.yaml")
		f.remove(etcdData)
		for _, name := range []string{"server", "peer", "healthcheck-client"} {
			f.remove(pki + "/etcd/" + name + ".crt")
			f.remove(pki + "/etcd/" + name + ".key")
		}
	}
}

// workerFiles leaves what a whole kubeadm join leaves on a worker.
func (f *fake) workerFiles() {
	f.file(pki+"/ca.crt", f.cas["ca"].certPEM)
	f.file(kubeletConf, f.kubeconfig("kubelet"))
	f.file(kubeletConfig, "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n")
	f.file(kubeletFlags, "KUBELET_KUBEADM_ARGS=\"\"\n")
}

// fakeEtcd is etcd behind its JSON gateway.
type fakeEtcd struct {
	t       *testing.T
	f       *fake
	server  *httptest.Server
	members []etcdMember
	keys    map[string]bool
	health  string
	removed []string
}

// newEtcd is reachable at the client ports of these addresses.
func newEtcd(t *testing.T, f *fake, addresses ...string) *fakeEtcd {
	e := &fakeEtcd{t: t, f: f, keys: map[string]bool{}, health: `{"health":"true","reason":""}`}
	e.server = httptest.NewUnstartedServer(http.HandlerFunc(e.serve))
	e.server.TLS = &tls.Config{
		Certificates: []tls.Certificate{f.cas["etcd/ca"].pair(t)},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: f.cas["etcd/ca"].pool(),
		Time: func() time.Time { return f.now },
	}
	e.server.StartTLS()
	t.Cleanup(e.server.Close)
	for _, a := range addresses {
		f.dial[a+":2379"] = e.server.Listener.Addr().String()
	}
	return e
}

// member adds one that votes.
func (e *fakeEtcd) member(name, address string) {
	e.members = append(e.members, etcdMember{ID: fmt.Sprint(1000 + len(e.members)), Name: name, PeerURLs: []string{peerURL(address)}})
}

func (e *fakeEtcd) serve(w http.ResponseWriter, r *http.Request) {
	var question map[string]any
	json.NewDecoder(r.Body).Decode(&question)
	text := func(key string) string {
		data, _ := base64.StdEncoding.DecodeString(fmt.Sprint(question[key]))
		return string(data)
	}
	switch r.URL.Path {
	case "/health":
		fmt.Fprint(w, e.health)
	case "/v3/cluster/member/list":
		json.NewEncoder(w).Encode(object{"members": e.members})
	case "/v3/cluster/member/remove":
		for i, m := range e.members {
			if m.ID == question["ID"] {
				e.members = append(e.members[:i:i], e.members[i+1:]...)
				e.removed = append(e.removed, m.ID)
				return
			}
		}
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"code":5, "message":"etcdserver: member not found"}`)
	case "/v3/kv/range":
		n, end := 0, text("range_end")
		for key := range e.keys {
			if key == text("key") || question["range_end"] != nil && key >= text("key") && key < end {
				n++
			}
		}
		if n == 0 {
			fmt.Fprint(w, `{"header":{}}`)
			return
		}
		fmt.Fprintf(w, `{"header":{}, "count":"%d"}`, n)
	}
}

// errEnough ends a test's wait for something that never comes.
var errEnough = errors.New("enough")

// until makes the machine's sleeps end in an error once the console says
// something: what it waits for never comes.
func (f *fake) until(text string) {
	sleep := f.host.Sleep
	f.host.Sleep = func(ctx context.Context, d time.Duration) error {
		if strings.Contains(f.console.String(), text) {
			return errEnough
		}
		return sleep(ctx, d)
	}
}
