package lab

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// poll is how often the consoles are looked at.
const poll = 250 * time.Millisecond

// UpOptions is what Up waits for, and whom it tells.
type UpOptions struct {
	// ServiceTest: the cluster's service test must have passed, too.
	ServiceTest bool
	// Event is told everything new, in order per node.
	Event func(node string, e Event)
	// Note is told what Up itself does.
	Note func(text string)
}

// Up starts the machines that are off and returns when every node is Ready,
// or with the first reason why that will not happen. It stops no machine.
//
// Without KVM one machine boots at a time: the next one gets its power when
// the agent of the last one runs. Many emulated machines that boot at once
// starve each other until timeouts strike.
func (l *Lab) Up(ctx context.Context, nodes []Node, o UpOptions) error {
	u := up{lab: l, UpOptions: o, waiting: nodes}
	for {
		if err := u.power(ctx); err != nil {
			return err
		}
		done, err := u.look()
		if done || err != nil {
			return err
		}
		if err := pause(ctx, poll); err != nil {
			return fmt.Errorf("%w: %s", err, u.summary())
		}
	}
}

type up struct {
	lab *Lab
	UpOptions
	// waiting have not been looked at yet; the others are followed.
	waiting []Node
	nodes   []*follower
}

// power starts the machines whose turn it is.
func (u *up) power(ctx context.Context) error {
	for len(u.waiting) > 0 {
		if !KVMUsable() && u.booting() {
			return nil
		}
		n := u.waiting[0]
		f := u.lab.follow(n)
		// Its past is not news.
		if _, err := f.next(); err != nil {
			return err
		}
		started, err := u.lab.Start(ctx, n)
		if err != nil {
			return err
		}
		if started {
			f.tracker.reset("power on")
		} else {
			u.Note(n.Name + " is on already")
		}
		u.waiting = u.waiting[1:]
		u.nodes = append(u.nodes, f)
	}
	return nil
}

func (u *up) booting() bool {
	for _, f := range u.nodes {
		if s := f.tracker.status; s.Seconds.Agent == nil && !s.Ready {
			return true
		}
	}
	return false
}

// look tells the news and whether everything is done.
func (u *up) look() (done bool, err error) {
	done = len(u.waiting) == 0
	status := Status{}
	for _, f := range u.nodes {
		events, err := f.next()
		if err != nil {
			return false, err
		}
		for _, e := range events {
			u.Event(f.node.Name, e)
		}
		status.add(f)
		s := f.now()
		switch {
		case s.Stopped != "":
			return false, fmt.Errorf("%s has stopped: %s", s.Name, s.Stopped)
		case s.Power == "off":
			return false, fmt.Errorf("%s has no power any more%s: imgbuild lab logs %[1]s shows its last words, imgbuild lab start %[1]s gives it back", s.Name, because(f.tracker.off))
		}
		done = done && s.Ready
	}
	return done && (status.ServiceTest.Passed || !u.ServiceTest), nil
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

// summary is what every node still lacks.
func (u *up) summary() string {
	var lacks []string
	status := Status{}
	for _, f := range u.nodes {
		status.add(f)
		s := f.now()
		if s.Ready {
			continue
		}
		lack := s.Name + " is in phase " + s.Phase
		if s.WaitingFor != "" {
			lack += ", waiting for: " + s.WaitingFor
		}
		lacks = append(lacks, lack)
	}
	for _, n := range u.waiting {
		lacks = append(lacks, n.Name+" was not started yet")
	}
	if u.ServiceTest && !status.ServiceTest.Passed {
		lacks = append(lacks, "the service test has not passed"+failedChecks(status.ServiceTest.Checks))
	}
	return strings.Join(lacks, "; ")
}

func failedChecks(checks []Check) string {
	var failed []string
	for _, c := range checks {
		if !c.Passed {
			failed = append(failed, strings.TrimSpace(c.Name+" "+c.Detail))
		}
	}
	if failed == nil {
		return ""
	}
	return " (failed: " + strings.Join(failed, ", ") + ")"
}
