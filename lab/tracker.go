package lab

import (
	"slices"
	"strings"
)

// Event is one thing that happened on a node, as its console tells.
type Event struct {
	// Seconds since the machine got its power.
	Seconds float64
	// Text is what the node says, without "imgbuild: ".
	Text string
}

// tracker folds the lines of a console.log into what is known of the node.
// What it knows of the boot ends with the boot: power and reboots reset it.
// The result of the service test stays, for the agent runs it once per disk.
type tracker struct {
	status NodeStatus
	test   ServiceTest
	// renewed: this boot's checks have replaced those of an earlier boot.
	renewed bool
	last    string
	// off is how the machine last lost its power.
	off string
}

// line takes the next line and returns the event it is, if any.
func (t *tracker) line(line string) (Event, bool) {
	switch {
	case strings.HasPrefix(line, markOn):
		t.reset("power on")
		return Event{}, false
	case strings.HasPrefix(line, markOff):
		// Whether it is off now is not the console's to say.
		t.off = strings.TrimPrefix(line, markOff)
		return Event{}, false
	}
	seconds, text, ok := split(line)
	if !ok {
		return Event{}, false
	}
	said, ok := t.machine(seconds, text)
	if !ok {
		if said, ok = agentLine(text); !ok {
			return Event{}, false
		}
		// The journal may forward to the console what the agent writes there, too.
		if said == t.last {
			return Event{}, false
		}
		t.agent(seconds, said)
	}
	t.last = said
	return Event{Seconds: seconds, Text: said}, true
}

func (t *tracker) reset(phase string) {
	t.status = NodeStatus{Phase: phase}
	t.renewed = false
	t.last = ""
}

// machine recognises what firmware and kernel say.
func (t *tracker) machine(seconds float64, text string) (string, bool) {
	switch {
	case strings.Contains(text, "Linux version "):
		t.reset("kernel")
		reach(&t.status.Seconds.Kernel, seconds)
		return "kernel started", true
	case strings.Contains(text, "Kernel panic - not syncing"):
		_, reason, _ := strings.Cut(text, "Kernel panic")
		return t.stop("kernel panic" + reason), true
	case strings.HasPrefix(text, "UEFI Interactive Shell"), strings.Contains(text, "No bootable option or device was found"):
		return t.stop("the firmware finds nothing to boot on the disk"), true
	}
	return "", false
}

func (t *tracker) stop(reason string) string {
	s := &t.status
	s.Phase, s.Stopped, s.Ready, s.WaitingFor = "stopped", reason, false, ""
	return "stop: " + reason
}

// agentLine is what follows "imgbuild: ", at the start of a line or behind
// what the kernel's log or the journal put before it.
func agentLine(text string) (string, bool) {
	before, said, ok := strings.Cut(text, "imgbuild: ")
	if !ok || said == "" {
		return "", false
	}
	if before != "" && !strings.HasSuffix(before, "] ") && !strings.HasSuffix(before, "]: ") {
		return "", false
	}
	return said, true
}

// agent takes what the initramfs' scripts and the agent say.
func (t *tracker) agent(seconds float64, said string) {
	s := &t.status
	word, rest, _ := strings.Cut(said, " ")
	switch {
	case s.Stopped != "":
		// Only the next boot changes that.
	case word == "state:":
		s.Phase = "initramfs"
		reach(&s.Seconds.Initramfs, seconds)
	case strings.HasPrefix(said, "ignition done"):
		s.Phase = "ignition"
		reach(&s.Seconds.Ignition, seconds)
	case word == "install:":
		t.install(rest)
	case strings.HasPrefix(said, "agent start"):
		s.Phase = "agent"
		reach(&s.Seconds.Agent, seconds)
	case strings.HasPrefix(said, "api answers"):
		reach(&s.Seconds.API, seconds)
	case strings.HasPrefix(said, "node ready"):
		reach(&s.Seconds.NodeReady, seconds)
	case word == "ready":
		s.Phase, s.Ready, s.WaitingFor = "ready", true, ""
		reach(&s.Seconds.Ready, seconds)
	case word == "stop:":
		t.stop(rest)
	case word == "kubeadm":
		// What it waited for has come.
		s.WaitingFor = ""
	case word == "phase":
		t.phase(rest)
	case word == "check":
		t.check(rest)
	case strings.HasPrefix(said, "service test passed"):
		t.test.Passed = true
		if !strings.HasSuffix(said, " in an earlier boot") {
			reach(&s.Seconds.ServiceTest, seconds)
		}
	}
}

// phase takes "NAME start", "NAME done (…)" or "NAME retry (reason; next in 4s)".
func (t *tracker) phase(rest string) {
	s := &t.status
	name, rest, _ := strings.Cut(rest, " ")
	what, detail, _ := strings.Cut(rest, " ")
	switch what {
	case "start":
		// A further attempt still waits for what the last one did.
		if s.Phase != name {
			s.WaitingFor = ""
		}
		s.Phase = name
	case "done":
		s.Phase, s.WaitingFor = name, ""
	case "retry":
		s.Phase, s.WaitingFor = name, why(detail)
	}
}

// install takes what the installer says: "retry (reason; next in 4s)", "refused
// (…)", or anything else, which is news.
func (t *tracker) install(rest string) {
	t.status.Phase, t.status.WaitingFor = "install", ""
	if what, detail, _ := strings.Cut(rest, " "); what == "retry" || what == "refused" {
		t.status.WaitingFor = why(detail)
	}
}

// why is the reason in "(reason; next in 4s)".
func why(detail string) string {
	detail = strings.TrimSuffix(strings.TrimPrefix(detail, "("), ")")
	if i := strings.LastIndex(detail, "; next in "); i >= 0 {
		detail = detail[:i]
	}
	return detail
}

// check takes "NAME passed" or "NAME failed", either with " (detail)".
func (t *tracker) check(rest string) {
	name, rest, _ := strings.Cut(rest, " ")
	result, detail, _ := strings.Cut(rest, " ")
	if name == "" || result != "passed" && result != "failed" {
		return
	}
	if !t.renewed {
		t.test, t.renewed = ServiceTest{}, true
	}
	detail = strings.TrimSuffix(strings.TrimPrefix(detail, "("), ")")
	c := Check{Name: name, Passed: result == "passed", Detail: detail}
	i := slices.IndexFunc(t.test.Checks, func(c Check) bool { return c.Name == name })
	if i < 0 {
		t.test.Checks = append(t.test.Checks, c)
		return
	}
	t.test.Checks[i] = c
}

// reach notes the first time only.
func reach(milestone **float64, seconds float64) {
	if *milestone == nil {
		*milestone = &seconds
	}
}
