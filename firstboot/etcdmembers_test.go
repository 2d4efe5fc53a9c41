package firstboot

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
)

// fakeMembers are the other members of etcd: one server for both of them, with
// what etcd v3.6.8 answers.
type fakeMembers struct {
	t       *testing.T
	quorum  bool
	members []object
	calls   []string
	// addFails is a power cut, or a cluster that refuses.
	addFails bool
}

// newMember is a machine of the role etcd after Ignition, and the cluster that
// knows of it. Its own etcd makes a log when it starts, and is healthy.
func newMember(t *testing.T, cluster *fakeMembers) (*fake, map[string]bool) {
	f := newFake(t)
	f.host.Hostname = func() (string, error) { return "etcd-1", nil }
	f.identity(etcdNode(), node.Image{Role: "etcd", Plan: strings.Repeat("cd", 32), Base: "debian-13", Components: map[string]string{"etcd": "v3.6.8"}})
	f.file(node.EtcdPKI+"/ca.crt", f.cas["etcd/ca"].certPEM)
	for _, pair := range []string{"server", "peer"} {
		cert, key := f.cas["etcd/ca"].issue(t, pair)
		f.file(node.EtcdPKI+"/"+pair+".crt", cert)
		f.file(node.EtcdPKI+"/"+pair+".key", key)
	}
	f.remove(containerdSocket)
	f.programs["ctr"] = nil
	own := f.etcdServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(object{"health": "true", "reason": ""})
	}))
	units := f.units(func(string) {
		f.file(etcdData+"/member/wal/0.wal", "x")
		f.dial[testAddress+":2379"] = own
	})
	if cluster != nil {
		cluster.t = t
		server := f.etcdServer(cluster)
		for _, address := range []string{"10.77.0.12:2379", "10.77.0.12:2380", "10.77.0.13:2379", "10.77.0.13:2380"} {
			f.dial[address] = server
		}
	}
	return f, units
}

// etcdServer wants a certificate of etcd's CA, and has one.
func (f *fake) etcdServer(handler http.Handler) string {
	ca := f.cas["etcd/ca"]
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of those who only look whether it is there
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.pair(f.t)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()}
	server.StartTLS()
	f.t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// poweredOn makes machines refuse connections instead of being silent.
func (f *fake) poweredOn(addresses ...string) {
	dial := f.host.Dial
	f.host.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, _ := net.SplitHostPort(address)
		if _, ok := f.dial[address]; !ok && slices.Contains(addresses, host) {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		return dial(ctx, network, address)
	}
}

func (c *fakeMembers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		ID           string
		PeerURLs     []string
		Linearizable bool
	}
	if r.Method == http.MethodPost {
		require.NoError(c.t, json.NewDecoder(r.Body).Decode(&body))
	}
	call := strings.TrimPrefix(r.URL.Path, "/v3/cluster/member/")
	refuse := func(code int, message string) {
		w.WriteHeader(code)
		json.NewEncoder(w).Encode(object{"code": 2, "message": "etcdserver: " + message})
	}
	switch {
	case call == "/members":
		var list []object
		for _, m := range c.members { // numbers here, text elsewhere
			list = append(list, object{"id": json.Number(m["ID"].(string)), "name": m["name"], "peerURLs": m["peerURLs"], "clientURLs": m["clientURLs"]})
		}
		json.NewEncoder(w).Encode(list)
		return
	case !c.quorum:
		refuse(http.StatusServiceUnavailable, "request timed out")
		return
	case call == "list":
		assert.True(c.t, body.Linearizable)
	case call == "remove":
		known := func(m object) bool { return m["ID"] == body.ID }
		if !slices.ContainsFunc(c.members, known) {
			refuse(http.StatusNotFound, "member not found")
			return
		}
		c.members = slices.DeleteFunc(c.members, known)
	case call == "add" && c.addFails:
		refuse(http.StatusInternalServerError, "re-configuration failed due to not enough started members")
		return
	case call == "add":
		c.members = append(c.members, object{"ID": "16540210630018180538", "peerURLs": body.PeerURLs})
	}
	if call != "list" {
		c.calls = append(c.calls, call)
	}
	json.NewEncoder(w).Encode(object{"header": object{"raft_term": "2"}, "members": c.members})
}

// known is a cluster of three, of which etcd-2 and etcd-3 run.
func known(quorum bool, own ...object) *fakeMembers {
	member := func(id, name, address string) object {
		return object{"ID": id, "name": name, "peerURLs": []string{"https://" + address + ":2380"}, "clientURLs": []string{"https://" + address + ":2379"}}
	}
	return &fakeMembers{quorum: quorum, members: append(own, member("12401844612281365280", "etcd-2", "10.77.0.12"), member("1718318426386347570", "etcd-3", "10.77.0.13"))}
}

// self is etcd-1 as its cluster knows it.
func self(name string, ran bool) object {
	m := object{"ID": "17613971200927911513", "peerURLs": []string{"https://10.77.0.11:2380"}}
	if name != "" {
		m["name"] = name
	}
	if ran {
		m["clientURLs"] = []string{"https://10.77.0.11:2379"}
	}
	return m
}
