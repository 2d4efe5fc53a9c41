package firstboot

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeCluster is an API server that keeps objects by path, and does what the
// controllers, kubelet, kube-proxy and CoreDNS would do for the agent.
type fakeCluster struct {
	t        *testing.T
	f        *fake
	server   *httptest.Server
	objects  map[string]object
	requests []string
	// readyz is what the API answers there instead of ok.
	readyz string
	// broken makes these addresses refuse what is fetched from them.
	broken map[string]bool
	// tokens are the bootstrap tokens that the API accepts.
	tokens []string
	// changes counts the changes of leases.
	changes int
}

const (
	podAddress     = "10.244.0.5"
	serviceAddress = "10.96.7.7"
	dnsAddress     = "10.96.0.10"
	peerAddress    = "10.244.0.6"
	apiService     = "10.96.0.1"
	testEndpoint   = "10.77.0.10"
)

// newCluster is a cluster that is reachable after start.
func newCluster(t *testing.T, f *fake) *fakeCluster {
	c := &fakeCluster{t: t, f: f, objects: map[string]object{}, broken: map[string]bool{}}
	c.server = httptest.NewUnstartedServer(http.HandlerFunc(c.serve))
	c.server.TLS = &tls.Config{
		Certificates: []tls.Certificate{f.cas["ca"].pair(t)},
		ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: f.cas["ca"].pool(),
		Time: func() time.Time { return f.now },
	}
	c.server.StartTLS()
	t.Cleanup(c.server.Close)
	return c
}

// reach makes the API reachable at an address of its own.
func (c *fakeCluster) reach(address string) { c.f.dial[address] = c.server.Listener.Addr().String() }

// start makes the API reachable and fills it as kubeadm init does.
func (c *fakeCluster) start() {
	c.reach(c.f.node.Address + ":6443")
	c.put("/api/v1/namespaces/kube-system/configmaps/kubeadm-config", object{})
	c.put("/api/v1/namespaces/kube-system/configmaps/kubelet-config", object{})
	c.put("/api/v1/namespaces/default/services/kubernetes", object{"spec": object{"clusterIP": apiService}})
	c.put("/api/v1/namespaces/kube-public/configmaps/cluster-info", object{})
	c.put("/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy", object{})
	pod := object{"spec": object{"containers": []object{{"image": testImage}}}}
	c.put(corednsPath, object{"spec": object{"replicas": 2, "template": pod}})
	c.put(corednsConfig, object{"data": object{"Corefile": kubeadmCorefile}})
	c.put("/api/v1/namespaces/kube-system/services/kube-dns", object{"spec": object{"clusterIP": dnsAddress}})
	c.node("True")
}

// node is what this machine's kubelet says of itself.
func (c *fakeCluster) node(ready string) {
	labels := object{}
	if c.f.node.Role == roleMaster {
		labels[controlPlaneLabel] = ""
	}
	c.nodeObject(c.f.node.Name, ready, testBootID, labels)
}

func (c *fakeCluster) nodeObject(name, ready, boot string, labels object) {
	c.put("/api/v1/nodes/"+name, object{
		"metadata": object{"name": name, "labels": labels},
		"spec":     object{"podCIDR": "10.244.0.0/24"},
		"status": object{
			"nodeInfo":   object{"bootID": boot},
			"conditions": []object{{"type": "Ready", "status": ready, "message": "the network is not ready"}},
		},
	})
}

// network makes pods, Services and the cluster's DNS reachable.
func (c *fakeCluster) network() {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host, _, _ := net.SplitHostPort(r.Host); c.broken[host] {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	c.t.Cleanup(web.Close)
	c.f.dial[podAddress+":8080"] = web.Listener.Addr().String()
	c.f.dial[serviceAddress+":8080"] = web.Listener.Addr().String()
	c.f.dial[dnsAddress+":53"] = dnsServer(c.t)
	c.f.dial[peerAddress+":5353"] = c.f.dial[dnsAddress+":53"]
	c.reach(apiService + ":443")
}

func (c *fakeCluster) put(path string, o object) {
	data, err := json.Marshal(o)
	require.NoError(c.t, err)
	var kept object
	require.NoError(c.t, json.Unmarshal(data, &kept))
	c.objects[path] = kept
}

func (c *fakeCluster) serve(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	c.requests = append(c.requests, r.Method+" "+r.URL.String())
	bearer, shown := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case len(r.TLS.PeerCertificates) == 0 && (!shown || !slices.Contains(c.tokens, bearer)):
		w.WriteHeader(http.StatusUnauthorized)
		json.NewEncoder(w).Encode(object{"message": "Unauthorized"})
	case strings.HasPrefix(path, leases):
		c.lease(w, r)
	case r.Method == http.MethodGet && (path == "/api/v1/nodes" || path == tokenSecrets):
		c.list(w, path)
	case path == "/readyz" && c.readyz != "":
		w.WriteHeader(http.StatusInternalServerError)
		io.WriteString(w, c.readyz)
	case path == "/readyz":
		io.WriteString(w, "ok")
	case discovery(path) != nil:
		json.NewEncoder(w).Encode(object{"resources": discovery(path)})
	case r.Method == http.MethodGet && strings.HasSuffix(path, "/pods"):
		pod := object{"metadata": object{"name": "pod-1"}, "status": object{"conditions": []object{{"type": "Ready", "status": "True"}}}}
		json.NewEncoder(w).Encode(object{"items": []object{pod}})
	case r.Method == http.MethodGet:
		c.answer(w, path)
	case r.Method == http.MethodPatch:
		c.patch(w, r, strings.TrimSuffix(path, "/scale"))
	case r.Method == http.MethodDelete:
		for p := range c.objects {
			if strings.HasPrefix(p, path) {
				delete(c.objects, p)
			}
		}
	}
}

func (c *fakeCluster) list(w http.ResponseWriter, path string) {
	items := []object{}
	for _, p := range slices.Sorted(maps.Keys(c.objects)) {
		if strings.HasPrefix(p, path+"/") {
			items = append(items, c.objects[p])
		}
	}
	json.NewEncoder(w).Encode(object{"items": items})
}

func (c *fakeCluster) answer(w http.ResponseWriter, path string) {
	if o, ok := c.objects[path]; ok {
		json.NewEncoder(w).Encode(o)
		return
	}
	w.WriteHeader(http.StatusNotFound)
	json.NewEncoder(w).Encode(object{"message": fmt.Sprintf("%s not found", path)})
}

func (c *fakeCluster) patch(w http.ResponseWriter, r *http.Request, path string) {
	var body object
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if r.Header.Get("Content-Type") == mergePatch {
		for key, value := range body {
			kept, _ := c.objects[path][key].(object)
			for k, v := range value.(object) {
				kept[k] = v
			}
		}
		return
	}
	switch {
	case strings.HasSuffix(path, "/pods/web"):
		body["status"] = object{"podIP": podAddress}
		if host, ok := body["spec"].(object)["nodeSelector"].(object)["kubernetes.io/hostname"]; ok {
			body["spec"].(object)["nodeName"] = host
		}
	case strings.HasSuffix(path, "/pods/peer"):
		body["status"] = object{"podIP": peerAddress}
	case strings.HasSuffix(path, "/services/web"):
		body["spec"].(object)["clusterIP"] = serviceAddress
	}
	c.objects[path] = body
}

// discovery is what the API says of its kinds.
func discovery(path string) []object {
	kinds := map[string][]object{
		"/api/v1": {
			{"name": "namespaces", "kind": "Namespace"},
			{"name": "configmaps", "kind": "ConfigMap", "namespaced": true},
			{"name": "pods", "kind": "Pod", "namespaced": true},
			{"name": "services", "kind": "Service", "namespaced": true},
			{"name": "serviceaccounts", "kind": "ServiceAccount", "namespaced": true},
		},
		"/apis/apps/v1": {
			{"name": "daemonsets/status", "kind": "DaemonSet", "namespaced": true},
			{"name": "daemonsets", "kind": "DaemonSet", "namespaced": true},
		},
		"/apis/rbac.authorization.k8s.io/v1": {
			{"name": "clusterroles", "kind": "ClusterRole"},
			{"name": "clusterrolebindings", "kind": "ClusterRoleBinding"},
		},
	}
	return kinds[path]
}

// dnsServer answers every query: the Service of the test has its address,
// everything else 10.96.0.1. Format: RFC 1035, 4.1.
func dnsServer(t *testing.T) string {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	go func() {
		packet := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			end := 12 + slices.Index(packet[12:n], 0) + 5 // the question's name, type and class
			reply := slices.Clone(packet[:end])
			copy(reply[2:12], []byte{0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0})
			address := net.IPv4(10, 96, 0, 1)
			if strings.Contains(string(packet[12:end]), "imgbuild-test") {
				address = net.ParseIP(serviceAddress)
			}
			reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4)
			conn.WriteTo(append(reply, address.To4()...), from)
		}
	}()
	return conn.LocalAddr().String()
}

const kubeadmCorefile = `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
`
