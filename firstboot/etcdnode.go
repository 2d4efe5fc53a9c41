package firstboot

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"imgbuild/cluster/node"
)

const etcdUnit = "etcd.service"

// etcdLimit is how long one question to a member may take. Without a quorum etcd
// itself gives up after seven seconds.
const etcdLimit = 10 * time.Second

// etcdPhases make a node of the role etcd a member of the masters' etcd.
func (m *machine) etcdPhases() ([]Phase, error) {
	listed := slices.ContainsFunc(m.node.Etcd, func(p node.Peer) bool { return p.Name == m.node.Name })
	if !listed {
		return nil, Stop{fmt.Sprintf("node %s has the role etcd, but is not among the members in its config: render it again", m.node.Name)}
	}
	return []Phase{{Name: "etcd", Done: m.etcdDone, Run: m.startEtcd}}, nil
}

// etcdDone asks only where etcd runs: at a boot it does not yet.
func (m *machine) etcdDone(ctx context.Context) (bool, error) {
	if !m.active(ctx, etcdUnit) {
		return false, nil
	}
	client, err := m.etcdClient("server", m.node.Address, etcdClientPort)
	if err != nil {
		return false, err
	}
	defer client.http.CloseIdleConnections()
	return etcdHealthy(ctx, client) == nil, nil
}

// startEtcd starts the member and waits until it has its cluster. A member
// without data is told anew at every attempt what its cluster is, since that may
// have changed meanwhile; one that has data is never told, and is restarted by
// nobody but systemd.
func (m *machine) startEtcd(ctx context.Context) error {
	start := etcdStart{members: m.node.Etcd}
	verb := "start"
	if !m.etcdHasData() {
		var err error
		if start, err = m.joinEtcd(ctx); err != nil {
			return err
		}
		verb = "restart"
	}
	config, err := etcdConfig(m.node, start)
	if err != nil {
		return err
	}
	if !m.holds(etcdConfigPath, config) {
		if err := m.host.write(etcdConfigPath, config, 0o644); err != nil {
			return err
		}
	}
	if err := m.host.call(ctx, "systemctl", verb, etcdUnit); err != nil {
		return err
	}
	client, err := m.etcdClient("server", m.node.Address, etcdClientPort)
	if err != nil {
		return err
	}
	defer client.http.CloseIdleConnections()
	return m.host.wait(ctx, gateLimit, func(ctx context.Context) error { return m.etcdRuns(ctx, client) })
}

// etcdHasData says whether etcd has begun: it makes its log under another name,
// syncs it and renames it, and looks at nothing else to know.
func (m *machine) etcdHasData() bool {
	found, err := filepath.Glob(m.host.path(etcdData + "/member/wal/*.wal"))
	return err == nil && len(found) > 0
}

// etcdRuns says what a member that has been started waits for.
func (m *machine) etcdRuns(ctx context.Context, client *api) error {
	err := etcdHealthy(ctx, client)
	switch {
	case err == nil:
		return nil
	case !m.active(ctx, etcdUnit):
		return fmt.Errorf("etcd has ended, see journalctl -u etcd: where it says that this member has been removed from the cluster, install %s again while the other members run", m.node.Name)
	}
	reached := 1
	for _, other := range m.otherMembers() {
		if conn, err := m.dialMember(ctx, other); err == nil {
			reached++
			conn.Close()
		}
	}
	if all := len(m.node.Etcd); reached < all {
		return fmt.Errorf("waiting for a quorum: %d of %d members reachable: %w", reached, all, err)
	}
	return fmt.Errorf("waiting for etcd: %w", err)
}

// etcdHealthy is nil once the member has a leader and no alarm.
func etcdHealthy(ctx context.Context, client *api) error {
	ctx, cancel := context.WithTimeout(ctx, etcdLimit)
	defer cancel()
	err := client.get(ctx, "/health", nil)
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("it does not answer yet")
	}
	return err
}

// joinEtcd finds out how this member without data becomes one of its cluster.
func (m *machine) joinEtcd(ctx context.Context) (etcdStart, error) {
	own := peerURL(m.node.Address)
	view, err := m.askMembers(ctx, own)
	if err != nil {
		return etcdStart{}, err
	}
	switch view.decide(own) {
	case etcdWait:
		return etcdStart{}, errors.New("waiting for a quorum of the other members: this one has no data, but its cluster has; it is added to it then")
	case etcdReplace:
		m.console.say("etcd: this member's data is lost: it is removed from the cluster and added again")
		if err := m.removeMember(ctx, view, own); err != nil {
			return etcdStart{}, err
		}
		fallthrough
	case etcdAdd:
		if view.members, err = m.addMember(ctx, view, own); err != nil {
			return etcdStart{}, err
		}
		return m.existing(view.members), nil
	case etcdJoin:
		return m.existing(view.members), nil
	}
	if err := m.othersAreUp(ctx); err != nil {
		return etcdStart{}, err
	}
	return etcdStart{members: m.node.Etcd}, nil
}

// othersAreUp waits until enough machines are there for a quorum. Before, etcd
// would only look for them, many times a second. A machine that refuses is up.
func (m *machine) othersAreUp(ctx context.Context) error {
	up, all := 1, len(m.node.Etcd)
	for _, other := range m.otherMembers() {
		conn, err := m.dialMember(ctx, other)
		if err == nil {
			conn.Close()
		}
		if err == nil || errors.Is(err, syscall.ECONNREFUSED) {
			up++
		}
	}
	if up < all/2+1 {
		return fmt.Errorf("waiting for a quorum: machines of %d of %d members are up", up, all)
	}
	return nil
}

// otherMembers are the members of the configuration without this one.
func (m *machine) otherMembers() []node.Peer {
	return slices.DeleteFunc(slices.Clone(m.node.Etcd), func(p node.Peer) bool { return p.Name == m.node.Name })
}
