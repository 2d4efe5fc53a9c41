package firstboot

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
)

// A node whose images are in the registry says what it waits for.
func TestANodeThatNeedsTheRegistry(t *testing.T) {
	f := newFake(t)
	m := f.machine()
	assert.Empty(t, m.pullPhases(), "most nodes do not")
	m.node.PullsFrom = testAddress + ":443"
	f.file(node.CAPath, f.cas["ca"].certPEM)
	require.Len(t, m.pullPhases(), 1)

	assert.ErrorContains(t, m.registryAnswers(t.Context()), "waiting for the registry that this node's images come from: ")
	status := http.StatusInternalServerError
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	web.TLS = &tls.Config{Certificates: []tls.Certificate{f.cas["ca"].pair(t)}}
	web.StartTLS()
	defer web.Close()
	f.dial[testAddress+":443"] = web.Listener.Addr().String()
	assert.EqualError(t, m.registryAnswers(t.Context()), "waiting for the registry that this node's images come from: https://10.77.0.11:443/v2/: HTTP 500")
	status = http.StatusUnauthorized
	assert.NoError(t, m.registryAnswers(t.Context()))

	// Another CA has signed it.
	f.file(node.CAPath, f.cas["front-proxy-ca"].certPEM)
	assert.ErrorContains(t, m.registryAnswers(t.Context()), "certificate signed by unknown authority")
}
