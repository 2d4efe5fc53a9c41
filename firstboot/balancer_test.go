package firstboot

import (
	"errors"
	"net"
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

const testPassword = "q7wxk2mz"

// lbNode is the first of two balancers before three masters.
func lbNode() node.Node {
	n := testNode()
	n.Name, n.Role, n.Topology, n.InitMaster = "lb-1", "lb", "stacked", false
	n.Endpoint = node.Endpoint{Host: "10.77.0.10", Port: 6443}
	n.Masters = []node.Peer{{Name: "master-1", Address: "10.77.0.12"}, {Name: "master-2", Address: "10.77.0.13"}, {Name: "master-3", Address: "10.77.0.14"}}
	n.Secrets = []string{node.CAPath, node.VRRPPath}
	n.Balancer = &node.Balancer{Port: 6443, VIP: "10.77.0.10", PrefixLength: 24, RouterID: 51, Priority: 200, Peers: []string{"10.77.0.22"}}
	return n
}

// newBalancer is a machine of the role lb after Ignition. The map has the units
// that run.
func newBalancer(t *testing.T) (*fake, map[string]bool) {
	f := newFake(t)
	f.host.Hostname = func() (string, error) { return "lb-1", nil }
	f.identity(lbNode(), node.Image{Role: "lb", Plan: strings.Repeat("cd", 32), Base: "debian-13", Components: map[string]string{"imgbuild-firstboot": "v0.1.0"}})
	f.file(node.CAPath, f.cas["ca"].certPEM)
	f.file(node.VRRPPath, testPassword+"\n")
	f.remove(containerdSocket)
	f.programs["ctr"] = nil
	f.programs["haproxy"] = func(Command) error { return nil }
	f.programs["keepalived"] = func(Command) error { return nil }
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { assert.Equal(t, "/alive", r.URL.Path) }))
	t.Cleanup(page.Close)
	units := f.units(func(unit string) {
		switch unit {
		case "haproxy.service":
			f.dial["127.0.0.1:8404"] = page.Listener.Addr().String()
		case "keepalived.service":
			f.hold("10.77.0.10")
		}
	})
	return f, units
}

// units makes systemctl start units and say which are active.
func (f *fake) units(started func(unit string)) map[string]bool {
	active := map[string]bool{}
	f.programs["systemctl"] = func(c Command) error {
		unit := c.Args[len(c.Args)-1]
		switch {
		case c.Args[0] != "is-active":
			active[unit] = true
			started(unit)
		case !active[unit]:
			return errors.New("exit status 3")
		}
		return nil
	}
	return active
}

// hold adds an address to the machine's interface.
func (f *fake) hold(address string) {
	f.host.Interfaces = func() ([]Interface, error) {
		return []Interface{{Name: "lo"}, {Name: "ens3", MAC: "52:54:00:77:00:11", MTU: 1500, Addresses: []string{testAddress, address}}}, nil
	}
}

// controls are the command lines that change something.
func (f *fake) controls() []string {
	var list []string
	for _, line := range f.ran {
		if !strings.HasPrefix(line, "systemctl is-active") {
			list = append(list, line)
		}
	}
	return list
}

func TestBalancerConfigs(t *testing.T) {
	lb := lbNode()
	golden(t, "haproxy-lb.cfg", string(haproxyConfig(lb)))
	golden(t, "keepalived-lb.conf", string(keepalivedConfig(lb, "ens3", testPassword)))

	// Masters that balance among themselves have the port 6443 for their own.
	master := testNode()
	master.Topology, master.Masters, master.Balancer = "stacked", lb.Masters, lb.Balancer
	balancer := *lb.Balancer
	balancer.Port, balancer.Peers = 8443, []string{"10.77.0.13", "10.77.0.14"}
	master.Balancer = &balancer
	golden(t, "haproxy-master.cfg", string(haproxyConfig(master)))

	alone := lb
	balancer.Peers = nil
	alone.Balancer = &balancer
	golden(t, "keepalived-alone.conf", string(keepalivedConfig(alone, "ens3", testPassword)))
}

func TestABalancerIsReadyWithoutTheAPI(t *testing.T) {
	f, _ := newBalancer(t)
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	golden(t, "lb.console", f.console.String())
	assert.Equal(t, []string{
		"haproxy -c -q -f /run/imgbuild/haproxy.cfg.new",
		"systemctl reload-or-restart haproxy.service",
		"keepalived --config-test --vrrp --use-file /run/imgbuild/keepalived.conf.new",
		"systemctl reload-or-restart keepalived.service",
	}, f.controls())
	for path, mode := range map[string]os.FileMode{haproxyDaemon().config: 0o644, keepalivedDaemon().config: 0o600} {
		info, err := os.Stat(f.host.path(path))
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm(), path)
	}
	assert.NotContains(t, f.journal.String()+strings.Join(f.ran, "\n"), testPassword)

	// The agent itself may be started again.
	f.ran = nil
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Empty(t, f.controls(), "nothing is disturbed")

	// A boot: /run is empty and nothing runs.
	f.remove("/run/imgbuild/haproxy.cfg")
	f.remove("/run/imgbuild/keepalived.conf")
	f.units(func(string) {})
	f.ran = nil
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Contains(t, f.controls(), "systemctl reload-or-restart haproxy.service")
	assert.Contains(t, f.controls(), "systemctl reload-or-restart keepalived.service")
}

func TestADaemonThatHasEndedIsStartedAgain(t *testing.T) {
	f, units := newBalancer(t)
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	units["keepalived.service"] = false
	f.ran = nil
	require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
	assert.Equal(t, []string{"systemctl start keepalived.service"}, f.controls())
}

func TestAnInvalidConfigReachesNoDaemon(t *testing.T) {
	f, units := newBalancer(t)
	f.programs["haproxy"] = func(c Command) error {
		c.Stderr.Write([]byte("[ALERT] config : no server\n"))
		return errors.New("exit status 1")
	}
	m := f.machine()
	err := m.startHaproxy(t.Context())
	require.ErrorContains(t, err, "exit status 1: [ALERT] config : no server")
	assert.NoFileExists(t, f.host.path(haproxyDaemon().config))
	assert.Empty(t, units)
}

func TestABalancerSaysWhatItWaitsFor(t *testing.T) {
	t.Run("haproxy", func(t *testing.T) {
		f, _ := newBalancer(t)
		f.units(func(string) {})
		assert.EqualError(t, f.machine().startHaproxy(t.Context()), "waiting for haproxy: connection refused")
	})
	t.Run("keepalived", func(t *testing.T) {
		f, _ := newBalancer(t)
		f.programs["systemctl"] = func(c Command) error {
			if c.Args[0] == "is-active" {
				return errors.New("exit status 3")
			}
			return nil
		}
		assert.EqualError(t, f.machine().startKeepalived(t.Context()), "waiting for keepalived: it has ended, see journalctl -u keepalived")
	})
	t.Run("the address", func(t *testing.T) {
		f, _ := newBalancer(t)
		m := f.machine()
		assert.EqualError(t, m.checkVIP(t.Context()), "waiting for the address 10.77.0.10: neither this node nor another balancer has it")
		// Another balancer has it.
		other, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer other.Close()
		f.dial["10.77.0.10:6443"] = other.Addr().String()
		assert.NoError(t, m.checkVIP(t.Context()))
	})
}

func TestABalancerStops(t *testing.T) {
	t.Run("nothing to balance", func(t *testing.T) {
		f, _ := newBalancer(t)
		n := lbNode()
		n.Balancer = nil
		f.json(node.Path, n)
		require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
		assert.Contains(t, f.console.String(), "imgbuild: stop: node lb-1 has the role lb, but it has nothing to balance: set loadBalancer.mode keepalived")
	})
	t.Run("password", func(t *testing.T) {
		f, _ := newBalancer(t)
		f.file(node.VRRPPath, "much-too-long-a-password\n")
		require.NoError(t, Run(t.Context(), f.host, "v0.1.0"))
		assert.Contains(t, f.console.String(), "imgbuild: stop: /etc/imgbuild/vrrp is not a line of 8 letters and digits")
		assert.NotContains(t, f.console.String()+f.journal.String(), "much-too-long")
	})
}

// tool finds a program of Debian, which `make test` installs.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin") {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			return filepath.Join(dir, name)
		}
	}
	if os.Getenv("IMGBUILD_TEST_ROOT") != "" {
		t.Fatalf("%s is not installed: see TEST_PACKAGES in the Makefile", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}
