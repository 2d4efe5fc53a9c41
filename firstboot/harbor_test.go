package firstboot

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
	"sigs.k8s.io/yaml"

	"imgbuild/cluster/node"
)

func harborImage() node.Image {
	return node.Image{
		Role: "harbor", Plan: strings.Repeat("cd", 32), Base: "debian-13",
		Components: map[string]string{"kubernetes": "v1.36.3"},
		Images:     []string{"docker.io/goharbor/harbor-core:v2.15.2"},
	}
}

// newHarbor is newRegistry with Harbor.
func newHarbor(t *testing.T) *fake {
	f, _ := newRegistry(t, wantsPassword)
	n := registryNode()
	n.Registry.Kind = "harbor"
	n.Secrets = []string{
		node.CAPath, node.RegistryDir + "/tls.crt", node.RegistryDir + "/tls.key",
		node.RegistryDir + "/admin-password", node.RegistryDir + "/harbor-secret", node.RegistryDir + "/token.key",
	}
	f.identity(n, harborImage())
	f.file(containerdSocket, "")
	f.file(node.RegistryDir+"/admin-password", "test-password\n")
	f.file(node.RegistryDir+"/harbor-secret", strings.Repeat("01", 32)+"\n")
	f.file(node.RegistryDir+"/token.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("test")})))
	f.programs["ctr"] = func(c Command) error {
		if strings.HasSuffix(c.String(), "images ls -q") {
			fmt.Fprintln(c.Stdout, harborImage().Images[0])
		}
		return nil
	}
	f.programs["systemd-tmpfiles"] = func(Command) error { return nil }
	return f
}

func TestAHarborNode(t *testing.T) {
	f := newHarbor(t)
	starts := 0
	systemctl := f.programs["systemctl"]
	f.programs["systemctl"] = func(c Command) error {
		if c.String() == "systemctl start kubelet.service" {
			starts++
			// What it is given is complete, and the folder is root's alone.
			info, err := os.Stat(filepath.Join(f.root, harborDir))
			require.NoError(t, err)
			assert.Equal(t, "drwx------", info.Mode().String())
			for _, name := range []string{harborPods + "/harbor.yaml", harborKubelet, cniConfig, harborPasswd} {
				assert.FileExists(t, filepath.Join(f.root, name))
			}
		}
		return systemctl(c)
	}
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Contains(t, f.console.String(), "imgbuild: ready")
	assert.Equal(t, 1, starts)
	for _, secret := range []string{"test-password", strings.Repeat("01", 32)} {
		assert.NotContains(t, f.console.String()+f.journal.String(), secret)
	}

	passwd, err := os.ReadFile(filepath.Join(f.root, harborPasswd))
	require.NoError(t, err)
	user, hash, _ := strings.Cut(strings.TrimSpace(string(passwd)), ":")
	assert.Equal(t, "harbor_registry_user", user)
	secrets, err := f.machine().harborSecrets()
	require.NoError(t, err)
	assert.NoError(t, bcrypt.CompareHashAndPassword([]byte(hash), []byte(secrets.make("registry-password", 32))))

	// The next start of the agent finds it running and leaves it alone.
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Equal(t, 1, starts)
	again, err := os.ReadFile(filepath.Join(f.root, harborPasswd))
	require.NoError(t, err)
	assert.Equal(t, passwd, again)
}

// elsewhere gives a node of role harbor all services elsewhere, with passwords as
// people choose them.
func elsewhere(f *fake) {
	n := f.machine().node
	n.Registry.Database = &node.Database{Host: "pg.example.com", Port: 5432, Name: "registry", User: "harbor", SSLMode: "verify-full"}
	n.Registry.Redis = &node.Redis{Host: "redis.example.com", Port: 6380, User: "harbor", TLS: true}
	n.Registry.S3 = &node.S3{Bucket: "images", Region: "eu-central-1", Endpoint: "https://s3.example.com:9000", AccessKey: "TESTKEY", Folder: "harbor"}
	f.identity(n, harborImage())
	f.file(node.DatabasePasswordPath, `test "database" \ $(PORT)`+"\n")
	f.file(node.RedisPasswordPath, "test@redis:2\n")
	f.file(node.S3KeyPath, "test/s3+3\n")
	f.file(node.ExternalCAPath, "-----BEGIN CERTIFICATE-----\n")
}

// TestHarborsConfiguration compares everything that Harbor is given.
func TestHarborsConfiguration(t *testing.T) {
	for name, change := range map[string]func(*fake){"harbor": func(*fake) {}, "harbor-external": elsewhere} {
		f := newHarbor(t)
		change(f)
		files, err := f.machine().harborFiles()
		require.NoError(t, err)
		var all strings.Builder
		for _, name := range harborOrder(files) {
			if name == harborPods+"/harbor.yaml" || strings.HasPrefix(name, harborDir+"/cert") || strings.HasPrefix(name, harborDir+"/trust") {
				continue // the pod is a file of its own, certificates are made for this test
			}
			if strings.HasSuffix(name, ".yml") {
				var any map[string]any
				require.NoError(t, yaml.UnmarshalStrict(files[name], &any), name)
			}
			fmt.Fprintf(&all, "=== %s\n%s\n", name, files[name])
		}
		golden(t, name+".txt", all.String())
		var pod struct {
			Metadata struct{ Annotations map[string]string }
		}
		text := files[harborPods+"/harbor.yaml"]
		require.NoError(t, yaml.Unmarshal(text, &pod))
		golden(t, name+"-pod.yaml", strings.Replace(string(text), pod.Metadata.Annotations[contentAnnotation], "HASH", 1))
	}
}

// TestAServiceElsewhereThatIsMissingIsNamed: Harbor does not say why it does not
// start.
func TestAServiceElsewhereThatIsMissingIsNamed(t *testing.T) {
	f := newHarbor(t)
	elsewhere(f)
	f.host.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
		if address == "redis.example.com:6380" {
			here, there := net.Pipe()
			there.Close()
			return here, nil
		}
		return nil, errors.New("dial tcp: no such host")
	}
	err := f.machine().askHarbor(t.Context())
	require.ErrorContains(t, err, "waiting for the registry: ")
	assert.ErrorContains(t, err, "its database pg.example.com:5432: dial tcp: no such host")
	assert.ErrorContains(t, err, "its S3 s3.example.com:9000: ")
	assert.NotContains(t, err.Error(), "its Redis")
}

// A changed file makes another pod, which the kubelet starts anew.
func TestChangedConfigurationChangesThePod(t *testing.T) {
	f := newHarbor(t)
	before, err := f.machine().harborFiles()
	require.NoError(t, err)
	f.file(node.RegistryDir+"/tls.crt", f.cas["front-proxy-ca"].certPEM)
	after, err := f.machine().harborFiles()
	require.NoError(t, err)
	assert.NotEqual(t, string(before[harborPods+"/harbor.yaml"]), string(after[harborPods+"/harbor.yaml"]))
}

func TestHarborURL(t *testing.T) {
	for host, want := range map[string]string{
		"registry.example.com": "https://registry.example.com", "10.77.0.51:443": "https://10.77.0.51", "registry.example.com:8443": "https://registry.example.com:8443",
	} {
		assert.Equal(t, want, harborURL(node.Registry{Host: host}))
	}
}

func TestAnImageOfAnotherRegistryStops(t *testing.T) {
	f := newHarbor(t)
	image := harborImage()
	image.Images = nil
	n := registryNode()
	n.Registry.Kind = "harbor"
	f.identity(n, image)
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Contains(t, f.console.String(), "imgbuild: stop: node harbor-1 is to serve images with harbor, but its image has distribution: build the image with the cluster.yaml that its config is from")
}
