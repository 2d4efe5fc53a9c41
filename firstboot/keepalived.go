package firstboot

import (
	"bytes"
	"context"
	"fmt"
	"regexp"

	"imgbuild/cluster/node"
)

func keepalivedDaemon() daemon {
	return daemon{
		unit: "keepalived.service", config: "/run/imgbuild/keepalived.conf", mode: 0o600,
		check: []string{"keepalived", "--config-test", "--vrrp", "--use-file"},
	}
}

// vrrpPassword is the form of what balancers know each other by. keepalived
// takes 8 letters and would cut a longer one.
var vrrpPassword = regexp.MustCompile(`^[0-9A-Za-z]{8}$`)

// keepalivedDone says whether keepalived runs with the configuration of now.
func (m *machine) keepalivedDone(ctx context.Context) (bool, error) {
	config, err := m.ownKeepalived()
	return err == nil && m.running(ctx, keepalivedDaemon(), config), err
}

func (m *machine) startKeepalived(ctx context.Context) error {
	config, err := m.ownKeepalived()
	if err != nil {
		return err
	}
	if err := m.start(ctx, keepalivedDaemon(), config); err != nil {
		return err
	}
	if !m.active(ctx, keepalivedDaemon().unit) {
		return fmt.Errorf("waiting for keepalived: it has ended, see journalctl -u keepalived")
	}
	return nil
}

// ownKeepalived is the configuration of this machine: its interface and its password.
func (m *machine) ownKeepalived() ([]byte, error) {
	own, err := m.ownInterface()
	if err != nil {
		return nil, err
	}
	data, err := m.host.read(node.VRRPPath)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", node.VRRPPath, reason(err))
	}
	password := string(bytes.TrimSpace(data))
	if !vrrpPassword.MatchString(password) {
		return nil, Stop{fmt.Sprintf("%s is not a line of 8 letters and digits: render the config of %s again and install it again", node.VRRPPath, m.node.Name)}
	}
	return keepalivedConfig(m.node, own.Name, password), nil
}

// keepalivedConfig moves the API's address among the balancers. Keywords:
// keepalived.conf(5), 2.2 and 2.3.
//
// What is checked is haproxy of this machine and not the API, which is not there
// before the first master is. All begin as BACKUP, and one that comes back lets
// the address stay: each move cuts the connections through it.
func keepalivedConfig(n node.Node, interfaceName, password string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Written by imgbuild-firstboot at every boot.
global_defs {
    router_id %s
    enable_script_security
    script_user nobody
    vrrp_check_unicast_src
}

vrrp_script haproxy {
    script /usr/lib/imgbuild/haproxy-alive
    interval 5
    timeout 4
    fall 2
    rise 1
    init_fail
}

vrrp_instance api {
    state BACKUP
    nopreempt
    interface %s
    virtual_router_id %d
    priority %d
    advert_int 1
    # Whoever missed the news of the address hears it again.
    garp_master_delay 1
    garp_master_refresh 60
    authentication {
        auth_type PASS
        auth_pass %s
    }
`, n.Name, interfaceName, n.Balancer.RouterID, n.Balancer.Priority, password)
	// Without peers there is nobody to tell.
	if len(n.Balancer.Peers) > 0 {
		fmt.Fprintf(&b, "    unicast_src_ip %s\n    unicast_peer {\n", n.Address)
		for _, peer := range n.Balancer.Peers {
			fmt.Fprintf(&b, "        %s\n", peer)
		}
		b.WriteString("    }\n")
	}
	fmt.Fprintf(&b, `    virtual_ipaddress {
        %s/%d dev %s
    }
    track_script {
        haproxy
    }
}
`, n.Balancer.VIP, n.Balancer.PrefixLength, interfaceName)
	return b.Bytes()
}
