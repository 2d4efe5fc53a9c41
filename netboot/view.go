package netboot

import (
	"time"

	"imgbuild/netboot/state"
	"imgbuild/protocol"
)

// What people and programs see, made from what is remembered and what is only
// known until the server ends.

// live is what a machine has last said of itself.
type live struct {
	Seen         time.Time
	Step         string
	Bytes, Total int64
	Agent, Phase string
	Line         string
	Phases       []protocol.AgentPhase
}

// View is all that is shown, as `imgbuild status -o json` prints it.
type View struct {
	Cluster   string           `json:"cluster"`
	Now       time.Time        `json:"now"`
	Nodes     []NodeView       `json:"nodes"`
	Strangers []state.Stranger `json:"strangers"`
	// Ready counts the nodes that are.
	Ready int `json:"ready"`
}

// NodeView is one machine.
type NodeView struct {
	Name    string      `json:"name"`
	Role    string      `json:"role"`
	Address string      `json:"address"`
	MAC     string      `json:"mac"`
	Stage   state.Stage `json:"stage"`
	// Since is when the stage was reached, Reached when each was, last.
	Since   time.Time                 `json:"since"`
	Reached map[state.Stage]time.Time `json:"reached"`
	// Step is the installer's, Phase the agent's; Line the last that either said.
	Step  string `json:"step,omitempty"`
	Phase string `json:"phase,omitempty"`
	Line  string `json:"line,omitempty"`
	// Bytes of Total of the image have arrived.
	Bytes int64 `json:"bytes,omitempty"`
	Total int64 `json:"total,omitempty"`
	// Seen is when the machine was last heard; none since the server started.
	Seen     *time.Time            `json:"seen,omitempty"`
	Installs int                   `json:"installs"`
	Phases   []protocol.AgentPhase `json:"phases,omitempty"`
	Alarms   []state.Alarm         `json:"alarms,omitempty"`
}

// View is how everything is now.
func (s *Server) View() (View, error) {
	v := View{Cluster: s.Cluster.Name, Now: time.Now().UTC(), Nodes: []NodeView{}}
	var err error
	if v.Strangers, err = s.Store.Strangers(); err != nil {
		return v, err
	}
	if v.Strangers == nil {
		v.Strangers = []state.Stranger{}
	}
	for _, n := range s.Cluster.Nodes {
		kept, err := s.Store.Node(n.Name)
		if err != nil {
			return v, err
		}
		s.mu.Lock()
		l := s.live[n.Name]
		s.mu.Unlock()
		row := NodeView{
			Name: n.Name, Role: string(n.Role), Address: n.Address, MAC: n.MAC,
			Stage: kept.Stage, Since: kept.Since[kept.Stage], Reached: kept.Since, Installs: kept.Installs, Alarms: kept.Alarms,
			Step: l.Step, Phase: l.Phase, Line: l.Line, Bytes: l.Bytes, Total: l.Total, Phases: l.Phases,
		}
		if !l.Seen.IsZero() {
			row.Seen = &l.Seen
		}
		if kept.Stage == state.Ready {
			v.Ready++
		}
		v.Nodes = append(v.Nodes, row)
	}
	return v, nil
}

// change changes what is remembered of a node and says so to who watches.
func (s *Server) change(name string, f func(*state.Node) error) (state.Node, error) {
	kept, err := s.Store.Change(name, f)
	s.update(name, func(*live) {})
	return kept, err
}

// update changes what is known of a node until the server ends.
func (s *Server) update(name string, f func(*live)) {
	s.mu.Lock()
	l := s.live[name]
	f(&l)
	l.Seen = time.Now().UTC()
	s.live[name] = l
	s.mu.Unlock()
	s.notify()
}

// tell is news about a node, for the log and the page.
func (s *Server) tell(name, line string) {
	s.Log.Info("node", "node", name, "says", line)
	s.update(name, func(l *live) { l.Line = line })
}

// notify wakes who waits for news.
func (s *Server) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// news is closed with the next change.
func (s *Server) news() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}
