package firstboot

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
)

// balancerPhases make a node balance the API: a machine of the role lb, or a
// master where masters do it among themselves. They wait for no API server, so
// that the first master can be made behind them.
func (m *machine) balancerPhases() []Phase {
	return []Phase{
		{Name: "haproxy", Done: m.haproxyDone, Run: m.startHaproxy},
		{Name: "keepalived", Done: m.keepalivedDone, Run: m.startKeepalived},
		gate(m.host, "vip", gateLimit, m.checkVIP),
	}
}

// lbPhases are those of the role lb.
func (m *machine) lbPhases() ([]Phase, error) {
	if m.node.Balancer == nil {
		return nil, Stop{fmt.Sprintf("node %s has the role lb, but it has nothing to balance: set loadBalancer.mode keepalived without coLocated in cluster.yaml and render its config again, or turn the machine off", m.node.Name)}
	}
	return m.balancerPhases(), nil
}

// checkVIP wants the API's address to be somebody's: this node's own, or that of
// another whose haproxy answers there. Two that hold it cannot be told from
// here: each of them reaches itself.
func (m *machine) checkVIP(ctx context.Context) error {
	list, err := m.host.Interfaces()
	if err != nil {
		return fmt.Errorf("network interfaces: %w", err)
	}
	for _, i := range list {
		if slices.Contains(i.Addresses, m.node.Balancer.VIP) {
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	conn, err := m.host.Dial(ctx, "tcp", hostPort(m.node.Balancer.VIP, m.node.Balancer.Port))
	if err != nil {
		return fmt.Errorf("waiting for the address %s: neither this node nor another balancer has it", m.node.Balancer.VIP)
	}
	return conn.Close()
}

// daemon is a service that runs with a configuration of ours. It is in memory
// only: systemd skips the service in a boot until the agent has written it.
type daemon struct {
	unit, config string
	mode         os.FileMode
	// check validates a configuration; the path comes last. Empty where there is no
	// such program.
	check []string
}

// running says whether the daemon runs with this configuration.
func (m *machine) running(ctx context.Context, d daemon, config []byte) bool {
	return m.holds(d.config, config) && m.active(ctx, d.unit)
}

// start makes the daemon run with this configuration, and disturbs one that does
// already in nothing.
func (m *machine) start(ctx context.Context, d daemon, config []byte) error {
	if m.holds(d.config, config) {
		return m.host.call(ctx, "systemctl", "start", d.unit)
	}
	// A running daemon keeps what it has where the new one is not valid.
	candidate := d.config + ".new"
	if err := m.host.write(candidate, config, d.mode); err != nil {
		return err
	}
	if len(d.check) > 0 {
		args := append(slices.Clone(d.check[1:]), m.host.path(candidate))
		if err := m.host.call(ctx, d.check[0], args...); err != nil {
			return err
		}
	}
	if err := os.Rename(m.host.path(candidate), m.host.path(d.config)); err != nil {
		return fmt.Errorf("%s: %w", d.config, err)
	}
	return m.host.call(ctx, "systemctl", "reload-or-restart", d.unit)
}

// holds says whether a file has this content.
func (m *machine) holds(path string, content []byte) bool {
	have, err := m.host.read(path)
	return err == nil && bytes.Equal(have, content)
}

func (m *machine) active(ctx context.Context, unit string) bool {
	return m.host.call(ctx, "systemctl", "is-active", "--quiet", unit) == nil
}
