package firstboot

import (
	"bufio"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
)

const aliveScript = "../roles/parts/balancer-keepalived/rootfs/usr/lib/imgbuild/haproxy-alive"

// rendered reads golden files of a pattern and replaces what this machine has not.
func rendered(t *testing.T, pattern string, replace ...string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	all := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		all[filepath.Base(file)] = strings.NewReplacer(replace...).Replace(string(data))
	}
	return all
}

// writeConfig is for programs that read files.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestHaproxyAcceptsTheConfig(t *testing.T) {
	haproxy := tool(t, "haproxy")
	ca := writeConfig(t, newAuthority(t, "ca").certPEM)
	for name, text := range rendered(t, "haproxy-*.cfg", node.CAPath, ca, pki+"/ca.crt", ca) {
		out, err := exec.CommandContext(t.Context(), haproxy, "-c", "-q", "-f", writeConfig(t, text)).CombinedOutput()
		assert.NoError(t, err, "%s: %s", name, out)
		assert.Empty(t, string(out), "%s: a warning", name)
		bad := strings.Replace(text, "leastconn", "leastconnn", 1)
		require.Error(t, exec.CommandContext(t.Context(), haproxy, "-c", "-q", "-f", writeConfig(t, bad)).Run())
	}
}

// keepalived 2.2 of Debian 12 ends its test with a signal to itself; what it
// complains of it prints in any case.
func TestKeepalivedAcceptsTheConfig(t *testing.T) {
	keepalived := tool(t, "keepalived")
	complaints := func(text string) string {
		out, _ := exec.CommandContext(t.Context(), keepalived, "--config-test", "--vrrp", "--use-file", writeConfig(t, text)).CombinedOutput()
		return string(out)
	}
	for name, text := range rendered(t, "keepalived-*.conf", "ens3", anInterface(t), "/usr/lib/imgbuild/haproxy-alive", "/bin/true") {
		assert.Empty(t, complaints(text), name)
		assert.Contains(t, complaints(strings.Replace(text, "nopreempt", "nopreemptt", 1)), "Unknown keyword")
	}
}

// anInterface is one that keepalived takes: not the loopback.
func anInterface(t *testing.T) string {
	t.Helper()
	list, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range list {
		if i.Flags&net.FlagLoopback == 0 {
			return i.Name
		}
	}
	if os.Getenv("IMGBUILD_TEST_ROOT") != "" {
		t.Fatal("there is no network interface beside the loopback")
	}
	t.Skip("there is no network interface beside the loopback")
	return ""
}

// TestHaproxyAliveAsksThePage runs the script of the image against a listener.
func TestHaproxyAliveAsksThePage(t *testing.T) {
	data, err := os.ReadFile(aliveScript)
	require.NoError(t, err)
	for answer, alive := range map[string]bool{
		"HTTP/1.0 200 OK\r\n\r\n":                  true,
		"HTTP/1.0 503 Service Unavailable\r\n\r\n": false,
		"": false, // it hangs up
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		asked := make(chan string, 1)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			page := ""
			if request, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				page = request.URL.Path
			}
			asked <- page
			conn.Write([]byte(answer))
			conn.Close()
		}()
		_, port, err := net.SplitHostPort(listener.Addr().String())
		require.NoError(t, err)
		script := strings.Replace(string(data), "/8404", "/"+port, 1)
		require.NotEqual(t, string(data), script)
		err = exec.CommandContext(t.Context(), "bash", "-c", script).Run()
		assert.Equal(t, alive, err == nil, answer)
		assert.Equal(t, "/alive", <-asked)
		listener.Close()
		assert.Error(t, exec.CommandContext(t.Context(), "bash", "-c", script).Run(), "nobody listens")
	}
	// The agent asks where haproxy listens and the script asks, too.
	config := string(haproxyConfig(lbNode()))
	assert.Contains(t, config, "bind 127.0.0.1:8404\n")
	assert.Contains(t, config, "monitor-uri /alive\n")
	assert.Equal(t, "http://127.0.0.1:8404/alive", haproxyPage)
	assert.Contains(t, string(data), "/127.0.0.1/8404")
}
