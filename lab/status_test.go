package lab

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A lab of which one machine has run and lost its power, one never ran.
func TestStatusJSON(t *testing.T) {
	l := &Lab{Name: "demo", Dir: t.TempDir()}
	require.NoError(t, os.Mkdir(filepath.Join(l.Dir, "master-1"), 0o700))
	console := filepath.Join(l.Dir, "master-1", consoleFile)
	require.NoError(t, os.WriteFile(console, []byte(boot+booted+ready+"[  99.400] imgbuild: half a li"), 0o600))
	status, err := l.Status([]Node{{Name: "master-1", Role: "master"}, {Name: "worker-1", Role: "worker"}})
	require.NoError(t, err)
	text, err := json.MarshalIndent(status, "", "  ")
	require.NoError(t, err)
	golden(t, "testdata/status.golden", string(text)+"\n")
}

// The console is read as it grows, and from its start where it is a new one.
func TestFollower(t *testing.T) {
	l := &Lab{Name: "demo", Dir: t.TempDir()}
	f := l.follow(Node{Name: "master-1"})
	events := func() int {
		t.Helper()
		e, err := f.next()
		require.NoError(t, err)
		return len(e)
	}
	assert.Zero(t, events(), "no console yet")
	require.NoError(t, os.Mkdir(filepath.Join(l.Dir, "master-1"), 0o700))
	console := filepath.Join(l.Dir, "master-1", consoleFile)
	require.NoError(t, os.WriteFile(console, []byte(markOn+"now\n[   1.000] imgbuild: sta"), 0o600))
	assert.Zero(t, events(), "half a line")
	require.NoError(t, os.WriteFile(console, []byte(markOn+"now\n[   1.000] imgbuild: state: x\n"), 0o600))
	assert.Equal(t, 1, events())
	assert.Zero(t, events())
	require.NoError(t, os.WriteFile(console, []byte(markOn+"now\n"), 0o600))
	assert.Zero(t, events())
	assert.Equal(t, "power on", f.now().Phase)
}

func TestHostAddresses(t *testing.T) {
	address := netip.MustParseAddr
	for _, test := range []struct {
		subnet, gateway string
		taken           []netip.Addr
		want            []netip.Addr
	}{
		{subnet: "10.77.0.0/24", want: []netip.Addr{address("10.77.0.254")}},
		{subnet: "10.77.0.9/20", want: []netip.Addr{address("10.77.15.254")}},
		{subnet: "10.77.0.0/24", gateway: "10.77.0.1", want: []netip.Addr{address("10.77.0.1"), address("10.77.0.254")}},
		{subnet: "10.77.0.0/24", gateway: "10.77.0.254", want: []netip.Addr{address("10.77.0.254")}},
		{subnet: "10.77.0.0/24", taken: []netip.Addr{address("10.77.0.254"), address("10.77.0.253")}, want: []netip.Addr{address("10.77.0.252")}},
		{subnet: "10.77.0.0/30", taken: []netip.Addr{address("10.77.0.1"), address("10.77.0.2")}},
	} {
		gateway, _ := netip.ParseAddr(test.gateway)
		assert.Equal(t, test.want, hostAddresses(netip.MustParsePrefix(test.subnet), gateway, test.taken))
	}
}

func TestCheckHostNamesPackages(t *testing.T) {
	has := func(missing ...string) func(string) bool {
		return func(what string) bool { return !slices.Contains(missing, what) }
	}
	assert.NoError(t, checkHost(true, has()))
	assert.EqualError(t, checkHost(true, has("qemu-img", firmwareCode, firmwareVars)),
		"the lab needs qemu-img, "+firmwareCode+", "+firmwareVars+": apt-get install qemu-utils ovmf")
	assert.Error(t, checkHost(true, has("ip")))
	assert.NoError(t, checkHost(false, has("ip")), "only root has a network namespace")
}

func TestEmulatorFault(t *testing.T) {
	assert.Contains(t, emulatorFault("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\n"), "QEMU 7.2 may stop")
	assert.NotEmpty(t, emulatorFault("QEMU emulator version 8.0.4\n"))
	assert.Empty(t, emulatorFault("QEMU emulator version 8.1.0\n"))
	assert.Empty(t, emulatorFault("QEMU emulator version 10.0.13 (Debian)\n"))
	assert.Empty(t, emulatorFault("something else"))
}

func TestVirtualises(t *testing.T) {
	assert.True(t, virtualises([]byte("processor\t: 0\nflags\t\t: fpu vmx de\n")))
	assert.True(t, virtualises([]byte("flags\t\t: svm\n")))
	assert.False(t, virtualises([]byte("flags\t\t: fpu de\nvmx flags\t: vnmi\n")))
	assert.False(t, virtualises(nil))
}

func TestWithoutProxy(t *testing.T) {
	assert.Equal(t, []string{"HOME=/root"}, withoutProxy([]string{"HOME=/root", "https_proxy=http://x", "NO_PROXY=y"}))
}
