package lab

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Status is the whole lab, in the form that `imgbuild lab status -o json`
// prints and scripts rely on.
type Status struct {
	Nodes       []NodeStatus `json:"nodes"`
	ServiceTest ServiceTest  `json:"serviceTest"`
}

// NodeStatus is what is known of one node since it got its power.
type NodeStatus struct {
	Name string `json:"name"`
	Role string `json:"role"`
	// Phase is empty for a machine that was never on; then power on, kernel,
	// initramfs, ignition, agent, the agent's phases, and ready or stopped.
	Phase string `json:"phase"`
	Ready bool   `json:"ready"`
	// WaitingFor is the reason of the agent's last failed attempt, while it tries.
	WaitingFor string `json:"waitingFor"`
	// Stopped is why the node has given up. Nothing but a person changes that.
	Stopped string `json:"stopped,omitempty"`
	// Power is "on" or "off".
	Power   string     `json:"power"`
	Seconds Milestones `json:"seconds"`
}

// Milestones are seconds since power-on; null is not reached, or not part of
// this boot: Ignition runs in the first one only.
type Milestones struct {
	Kernel    *float64 `json:"kernel"`
	Initramfs *float64 `json:"initramfs"`
	Ignition  *float64 `json:"ignition"`
	Agent     *float64 `json:"agent"`
	API       *float64 `json:"api"`
	NodeReady *float64 `json:"nodeReady"`
	// ServiceTest is when it passed; it runs once in a cluster's life.
	ServiceTest *float64 `json:"serviceTest"`
	Ready       *float64 `json:"ready"`
}

// ServiceTest is what the init master says of the cluster.
type ServiceTest struct {
	Passed bool    `json:"passed"`
	Checks []Check `json:"checks"`
}

// Check is one part of the service test.
type Check struct {
	Name   string `json:"name"`
	Passed bool   `json:"passed"`
	Detail string `json:"detail"`
}

// Status reads what is known of these nodes; only names and roles are used.
func (l *Lab) Status(nodes []Node) (Status, error) {
	var followers []*follower
	for _, n := range nodes {
		followers = append(followers, l.follow(n))
	}
	return statusOf(followers)
}

func (s *Status) add(f *follower) {
	s.Nodes = append(s.Nodes, f.now())
	s.ServiceTest.Passed = s.ServiceTest.Passed || f.tracker.test.Passed
	s.ServiceTest.Checks = append(s.ServiceTest.Checks, f.tracker.test.Checks...)
}

// follower reads the console of one node as it grows.
type follower struct {
	node    Node
	machine machine
	on      func() bool
	tracker tracker
	offset  int64
	file    os.FileInfo
}

func (l *Lab) follow(n Node) *follower {
	m := l.machine(n.Name)
	return &follower{node: n, machine: m, on: m.on}
}

// next takes the lines that are new and returns the events among them.
func (f *follower) next() ([]Event, error) {
	log, err := os.Open(filepath.Join(f.machine.dir, consoleFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return nil, err
	}
	if f.file != nil && (!os.SameFile(f.file, info) || info.Size() < f.offset) {
		// The node was made anew: nothing of the old one counts.
		f.offset, f.tracker = 0, tracker{}
	}
	f.file = info
	if _, err := log.Seek(f.offset, io.SeekStart); err != nil {
		return nil, err
	}
	return f.read(bufio.NewReader(log))
}

func (f *follower) read(lines *bufio.Reader) ([]Event, error) {
	var events []Event
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			// Half a line is read again when it is whole.
			return events, nil
		}
		if err != nil {
			return events, err
		}
		f.offset += int64(len(line))
		if e, ok := f.tracker.line(line[:len(line)-1]); ok {
			events = append(events, e)
		}
	}
}

// now is the status of the node, with its power.
func (f *follower) now() NodeStatus {
	s := f.tracker.status
	s.Name, s.Role, s.Power = f.node.Name, f.node.Role, "off"
	if f.on() {
		s.Power = "on"
	} else {
		s.Ready = false
	}
	return s
}
