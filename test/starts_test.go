package test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/protocol"
)

// otherServer is the address of the DHCP server that was there before us.
const otherServer = "10.77.0.253"

// dnsmasq is a machine of its own in the lab's network that gives addresses until
// the test ends.
func (w *ha) dnsmasq(args ...string) {
	w.t.Helper()
	lab, name := "imgbuild-"+w.name, "imgbuild-"+w.name+"-dhcp"
	output(w.t, "ip", "netns", "add", name)
	output(w.t, "ip", "-n", lab, "link", "add", "other", "type", "veth", "peer", "name", "eth0", "netns", name)
	output(w.t, "ip", "-n", lab, "link", "set", "dev", "other", "master", "br0", "up")
	output(w.t, "ip", "-n", name, "address", "add", otherServer+"/24", "dev", "eth0")
	output(w.t, "ip", "-n", name, "link", "set", "dev", "eth0", "up")
	said := &lines{}
	cmd := exec.Command("ip", append([]string{"netns", "exec", name, "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--user=root",
		"--conf-file=/dev/null", "--pid-file=", "--dhcp-leasefile=" + filepath.Join(w.dir, "leases"), "--port=0", "--interface=eth0",
		"--dhcp-range=10.77.0.100,10.77.0.199,255.255.255.0,1h", "--dhcp-host=" + w.machines[0].mac() + ",10.77.0.21"}, args...)...)
	cmd.Stderr = said
	require.NoError(w.t, cmd.Start())
	w.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		// Not with the test's context, which has ended.
		out, err := exec.Command("ip", "netns", "delete", name).CombinedOutput()
		assert.NoError(w.t, err, "%s", out)
		if w.t.Failed() {
			w.t.Log("the end of what dnsmasq said:\n" + tail(said.String(), 60))
		}
	})
	require.Eventually(w.t, func() bool { return strings.Contains(said.String(), "DHCP, IP range") }, time.Minute, 50*time.Millisecond, said)
}

// TestEveryWayToStartTheInstaller: UEFI's own HTTP boot, PXE and a BIOS beside a
// DHCP server that was there before, and other people's servers alone.
func TestEveryWayToStartTheInstaller(t *testing.T) {
	onlyTestHA(t)
	w := newBalancer(t, "")
	// writes powers the machine on and off again once its disk is written to.
	writes := func(by string) {
		w.t.Helper()
		from := len(w.consoleOf("lb-1"))
		w.must("lab", "start", "lb-1", "--netboot="+by)
		w.awaitOf("lb-1", from, `imgbuild: install: writing `, 10*time.Minute)
		w.must("lab", "kill", "lb-1")
	}

	s := w.serve("lb-1")
	writes("http")
	s.kill()

	t.Log("another DHCP server is there")
	w.dnsmasq()
	_, err := w.run(t.Context(), "lab", "serve", "--images", w.images, "lb-1")
	require.ErrorContains(t, err, "another DHCP server, "+otherServer+", gives addresses on br0")
	require.ErrorContains(t, err, "--dhcp proxy")
	w.serve("--dhcp", "proxy", "lb-1")
	writes("pxe")

	t.Log("a BIOS takes its kernel from the server and its root from the disk")
	from := len(w.consoleOf("lb-1"))
	w.must("lab", "start", "lb-1", "--netboot=bios")
	_, from = w.awaitOf("lb-1", from, `imgbuild: install: lb-1 is installed on `, 10*time.Minute)
	w.awaitOf("lb-1", from, `imgbuild: ready `, 10*time.Minute)
	row := w.row("lb-1")
	assert.Equal(t, 1, row.Installs)
	assert.NotEqual(t, protocol.StepRefused, row.Step)
	w.must("lab", "kill", "lb-1")
	from = len(w.consoleOf("lb-1"))
	w.must("lab", "start", "lb-1", "--netboot=bios")
	w.awaitOf("lb-1", from, `imgbuild: ready `, 10*time.Minute)
	assert.NotContains(t, w.consoleOf("lb-1")[from:], "imgbuild: install:")
}

// TestATreeForOtherServers: dnsmasq and nginx alone, as docs/netboot.md has it.
func TestATreeForOtherServers(t *testing.T) {
	onlyTestHA(t)
	w := newBalancer(t, "")
	tree := filepath.Join(w.dir, "nginx")
	w.must("ignition", "--tree", tree, "--url", "http://10.77.0.254:9090", "--images", w.images, "lb-1")
	w.must("lab", "start", "lb-1", "--netboot=disk-first") // which makes the network, too
	w.nginx("boot/", "10.77.0.254:9090")
	w.dnsmasq("--enable-tftp", "--tftp-root="+filepath.Join(tree, "ipxe"), "--dhcp-match=set:ipxe,175", "--dhcp-boot=tag:!ipxe,snponly.efi",
		"--dhcp-boot=tag:ipxe,http://10.77.0.254:9090/boot/${mac:hexhyp}.ipxe")
	_, from := w.awaitOf("lb-1", 0, `imgbuild: install: lb-1 is installed on `, 10*time.Minute)
	w.awaitOf("lb-1", from, `imgbuild: ready `, 10*time.Minute)
}
