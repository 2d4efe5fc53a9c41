package firstboot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"imgbuild/cluster/node"
	consoles "imgbuild/console"
)

// machine is a host that knows which node it is. The identity gate fills it;
// every later phase reads it.
type machine struct {
	host    *Host
	console *console
	report  *report

	node  node.Node
	image node.Image

	// api is the client of apiKey, a kubeconfig that makes us who: see client.
	api    *api
	apiKey string
	who    credentials

	// parsed are the objects of folders, see addonsOf.
	parsed map[string][]object
	// course is what the first master was last said to do, see decide.
	course course
	// lease is what was last seen of another's lease, see staleLease.
	lease sightOfLease
}

// Run does everything from power-on to a ready node and then returns nil. It
// also returns nil where it has stopped: a restart would stop again. An error
// means that it was interrupted.
func Run(ctx context.Context, h *Host, version string) error {
	lines := &console{journal: h.Out, device: h.Console, uptime: h.uptime}
	m := &machine{host: h, console: lines, report: &report{host: h, console: lines}}
	m.report.update(func(s *Status) {
		s.Version, s.State, s.Phases = version, StateRunning, []PhaseStatus{}
		s.Seconds.Agent = h.uptime()
	})
	lines.say("agent start (%s, up %.1fs)", version, h.uptime())
	err := m.run(ctx)
	var stop Stop
	if errors.As(err, &stop) {
		lines.say("stop: %s", stop.Reason)
		m.report.update(func(s *Status) { s.State, s.WaitingFor = StateStopped, consoles.OneLine(stop.Reason) })
		err = nil
	}
	if err == nil {
		m.farewell(ctx)
	}
	return err
}

func (m *machine) run(ctx context.Context) error {
	runner := &runner{host: m.host, console: m.console, report: m.report}
	if err := runner.run(ctx, m.gates()); err != nil {
		return err
	}
	if err := runner.run(ctx, m.containerGates()); err != nil {
		return err
	}
	phases, err := m.rolePhases()
	if err != nil {
		return err
	}
	if err := runner.run(ctx, phases); err != nil {
		return err
	}
	m.reached("ready", func(s *Status, up float64) { s.State, s.Phase, s.Seconds.Ready = StateReady, "", up })
	return nil
}

// The roles that the agent tells apart.
const (
	roleMaster = "master"
	roleWorker = "worker"
	roleRook   = "rook"
)

// rolePhases is the only place that knows which roles there are.
func (m *machine) rolePhases() ([]Phase, error) {
	switch m.node.Role {
	case roleMaster:
		return m.masterPhases(), nil
	case roleWorker:
		return m.workerPhases(), nil
	case roleRook:
		return slices.Concat(m.storagePhases(), m.workerPhases(), m.pullPhases()), nil
	case "lb":
		return m.lbPhases()
	case "etcd":
		return m.etcdPhases()
	case "harbor":
		return m.registryPhases()
	}
	return nil, Stop{fmt.Sprintf("node %s has the role %s: this agent knows the roles: master, worker, rook, lb, etcd, harbor", m.node.Name, m.node.Role)}
}

// hasKubelet says whether nodes of a role are nodes of Kubernetes.
func hasKubelet(role string) bool {
	return slices.Contains([]string{roleMaster, roleWorker, roleRook}, role)
}

// stackedEtcd says whether masters run etcd themselves.
func (m *machine) stackedEtcd() bool { return m.node.Topology != "external-etcd" }

// alone says whether this is the only node that Kubernetes will ever have.
func (m *machine) alone() bool { return len(m.node.Masters) == 1 && len(m.node.Joining) == 0 }

// reached says that something has been reached and when.
func (m *machine) reached(what string, set func(s *Status, up float64)) {
	up := m.console.milestone(what)
	m.report.update(func(s *Status) { set(s, up) })
}

// duration reads a timeout of node.json, which Validate has checked.
func duration(text string, otherwise time.Duration) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return otherwise
	}
	return d
}
