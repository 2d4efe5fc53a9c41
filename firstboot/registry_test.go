package firstboot

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
)

// registryNode serves the images of a cluster of three masters.
func registryNode() node.Node {
	n := lbNode()
	n.Name, n.Role, n.Balancer = "harbor-1", "harbor", nil
	n.Secrets = []string{
		node.CAPath, node.RegistryDir + "/tls.crt", node.RegistryDir + "/tls.key",
		node.RegistryDir + "/password.sha256", node.RegistryDir + "/upload-secret",
	}
	n.Registry = &node.Registry{Kind: "distribution", Host: "registry.example.com", Port: 443}
	return n
}

// newRegistry is a machine of the role harbor after Ignition. The map has the
// units that run.
func newRegistry(t *testing.T, answer http.HandlerFunc) (*fake, map[string]bool) {
	f := newFake(t)
	f.host.Hostname = func() (string, error) { return "harbor-1", nil }
	f.identity(registryNode(), node.Image{Role: "harbor", Plan: strings.Repeat("cd", 32), Base: "debian-13", Components: map[string]string{"registry": "v3.1.2"}})
	f.file(node.CAPath, f.cas["ca"].certPEM)
	f.file(node.RegistryDir+"/tls.crt", f.cas["ca"].certPEM)
	f.file(node.RegistryDir+"/tls.key", f.cas["ca"].keyPEM)
	f.file(node.RegistryDir+"/password.sha256", strings.Repeat("ef", 32)+"\n")
	f.file(node.RegistryDir+"/upload-secret", strings.Repeat("01", 32)+"\n")
	f.remove(containerdSocket)
	f.programs["ctr"] = nil
	web := httptest.NewUnstartedServer(answer)
	web.TLS = &tls.Config{Certificates: []tls.Certificate{f.cas["ca"].pair(t)}}
	web.StartTLS()
	t.Cleanup(web.Close)
	units := f.units(func(string) { f.dial[testAddress+":443"] = web.Listener.Addr().String() })
	return f, units
}

// wantsPassword answers as a registry does to who gives none.
func wantsPassword(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.WriteHeader(http.StatusUnauthorized)
}

func TestARegistryNode(t *testing.T) {
	f, units := newRegistry(t, wantsPassword)
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Contains(t, f.console.String(), "imgbuild: ready")
	assert.True(t, units["registry.service"])
	config, err := os.ReadFile(filepath.Join(f.root, "/run/imgbuild/registry.yaml"))
	require.NoError(t, err)
	golden(t, "registry.yaml", string(config))
	assert.Equal(t, []string{"systemctl reload-or-restart registry.service"}, f.controls())
	assert.NotContains(t, f.console.String(), strings.Repeat("01", 32))

	// The next start of the agent finds it running and leaves it alone.
	f.ran = nil
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Empty(t, f.controls())
}

func TestARegistryThatDoesNotAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"fails": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
			w.WriteHeader(503)
		}, "https://10.77.0.11:443/v2/: HTTP 503"},
		"is another": {func(http.ResponseWriter, *http.Request) {}, "https://10.77.0.11:443/v2/ is answered by something that is no registry"},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := newRegistry(t, c.answer)
			f.until("phase registry retry")
			require.ErrorIs(t, Run(t.Context(), f.host, "v0.1.0"), errEnough)
			assert.Contains(t, f.console.String(), "imgbuild: phase registry retry (waiting for the registry: "+c.want)
		})
	}
}
