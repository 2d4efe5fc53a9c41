package firstboot

import (
	"encoding/json"
	"time"

	consoles "imgbuild/console"
)

// StatusPath is where the agent keeps its status. /run is empty after a boot,
// so that a status is always of this boot.
const StatusPath = "/run/imgbuild/status.json"

// The values of Status.State.
const (
	StateRunning = "running"
	StateReady   = "ready"
	StateStopped = "stopped"
)

// Status is what the agent has done in this boot and what it waits for.
type Status struct {
	Version string `json:"version"`
	Node    string `json:"node,omitempty"`
	Role    string `json:"role,omitempty"`
	State   string `json:"state"`
	// Phase is the current one, or the one that stopped.
	Phase string `json:"phase,omitempty"`
	// WaitingFor is why the last attempt of the phase failed, or why the agent
	// has stopped.
	WaitingFor  string        `json:"waitingFor,omitempty"`
	Phases      []PhaseStatus `json:"phases"`
	Seconds     Seconds       `json:"seconds"`
	ServiceTest *ServiceTest  `json:"serviceTest,omitempty"`
	// Disks are the raw ones of a node of role rook.
	Disks []DiskStatus `json:"disks,omitempty"`
}

// PhaseStatus is one phase that has begun.
type PhaseStatus struct {
	Name    string  `json:"name"`
	Done    bool    `json:"done"`
	Retries int     `json:"retries,omitempty"`
	Seconds float64 `json:"seconds"`
}

// Seconds are the uptimes at which something was reached in this boot.
type Seconds struct {
	Agent       float64 `json:"agent,omitempty"`
	API         float64 `json:"api,omitempty"`
	Node        float64 `json:"node,omitempty"`
	ServiceTest float64 `json:"serviceTest,omitempty"`
	Ready       float64 `json:"ready,omitempty"`
}

// ServiceTest is the result of the cluster's own test.
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

// ReadStatus is the status of the agent on the machine.
func ReadStatus(h *Host) (Status, error) {
	var s Status
	data, err := h.read(StatusPath)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(data, &s)
}

// report keeps the status file up to date.
type report struct {
	host    *Host
	console *console
	status  Status
	// outside is told everything, where there is somebody to tell.
	outside *outside
}

// update changes the status and writes it. A status that cannot be written is
// said but stops nothing.
func (r *report) update(change func(*Status)) {
	change(&r.status)
	data, err := r.status.encode()
	if err == nil {
		err = r.host.write(StatusPath, data, 0o644)
	}
	if err == nil && r.outside != nil {
		r.outside.set(data)
	}
	if err != nil {
		r.console.log("imgbuild: the status could not be written: " + err.Error())
	}
}

func (r *report) begin(phase string) {
	r.update(func(s *Status) {
		s.State, s.Phase, s.WaitingFor = StateRunning, phase, ""
		s.Phases = append(s.Phases, PhaseStatus{Name: phase})
	})
}

func (r *report) retry(phase string, reason error) {
	r.update(func(s *Status) {
		s.Phase, s.WaitingFor = phase, consoles.OneLine(reason.Error())
		s.Phases[len(s.Phases)-1].Retries++
	})
}

func (r *report) end(phase string, took time.Duration) {
	r.update(func(s *Status) {
		last := &s.Phases[len(s.Phases)-1]
		last.Done, last.Seconds = true, float64(took.Milliseconds())/1000
		s.Phase, s.WaitingFor = phase, ""
	})
}
