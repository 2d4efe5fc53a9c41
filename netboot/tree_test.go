package netboot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/install"
	"imgbuild/netboot/dhcp"
	"imgbuild/protocol"
)

// loaders is a folder with files of iPXE's names.
func loaders(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{dhcp.LoaderUEFI, dhcp.LoaderBIOS} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644))
	}
	return dir
}

func text(t *testing.T, elements ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elements...))
	require.NoError(t, err)
	return string(data)
}

// A web server has everything that a machine asks for, from its script on.
func TestTheFolderOfAWebServer(t *testing.T) {
	b, dir := newBench(t), t.TempDir()
	tree := Tree{Cluster: b.Cluster, Nodes: b.Cluster.Nodes, Secrets: b.Secrets, Sets: b.Sets, Loaders: loaders(t), URL: "http://10.77.0.5/os/"}
	require.NoError(t, tree.Write(t.Context(), dir))
	assert.Equal(t, dhcp.LoaderUEFI, text(t, dir, "ipxe", dhcp.LoaderUEFI))

	script := text(t, dir, "boot", "52-54-00-77-00-31.ipxe")
	assert.Contains(t, script, "kernel http://10.77.0.5/os/images/worker.efi ")
	var args install.Args
	for line := range strings.Lines(script) {
		if strings.Contains(line, ".efi") {
			var err error
			args, err = install.ParseArgs(line)
			require.NoError(t, err)
		}
	}
	assert.Equal(t, "http://10.77.0.5/os/nodes/worker-1.json", args.Order.String())
	order, err := protocol.OpenOrder([]byte(text(t, dir, "nodes", "worker-1.json")))
	require.NoError(t, err)
	assert.Equal(t, "http://10.77.0.5/os/images/worker.raw.zst", order.Image)
	assert.Empty(t, order.Report, "nobody listens")
	assert.Contains(t, string(order.Ignition), "/etc/imgbuild/token", "nobody is there to claim from")
	m, err := protocol.OpenManifest([]byte(text(t, dir, "images", "worker.json")), text(t, dir, "images", "worker.json.sig"), args.Key)
	require.NoError(t, err)
	assert.Equal(t, "worker", m.Role)
	info, err := os.Stat(filepath.Join(dir, "nodes", "worker-1.json"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it holds secrets")
	for _, ext := range []string{"raw.zst", "efi", "linux", "initrd"} {
		assert.Equal(t, "12345", text(t, dir, "images", "master."+ext))
	}
}

// Where a server runs, the folder leads to it and holds no secret.
func TestAFolderThatLeadsToTheServer(t *testing.T) {
	b, dir := newBench(t), t.TempDir()
	tree := Tree{Cluster: b.Cluster, Nodes: b.Cluster.Nodes, Secrets: b.Secrets, Sets: b.Sets, Loaders: loaders(t), Server: b.PublicURL()}
	require.NoError(t, tree.Write(t.Context(), dir))
	assert.Equal(t, "#!ipxe\nchain --replace http://127.0.0.1:8080/boot/52-54-00-77-00-31.ipxe\n", text(t, dir, "boot", "52-54-00-77-00-31.ipxe"))
	left, err := os.ReadDir(filepath.Join(dir, "nodes"))
	require.NoError(t, err)
	assert.Empty(t, left)

	require.NoError(t, os.Remove(filepath.Join(tree.Loaders, dhcp.LoaderBIOS)))
	assert.ErrorContains(t, tree.Write(t.Context(), dir), "apt-get install ipxe brings it")
}
