package main

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// step is a part of a boot and how long it took, in seconds.
type step struct {
	name    string
	seconds float64
}

// event is one line of a console: what was said, and when after power-on.
type event struct {
	at   float64
	text string
}

// powerOn begins each boot in the log of `imgbuild lab logs`.
const powerOn = "=== power on "

// lastBoot are the events since the machine last got its power.
func lastBoot(log string) []event {
	if i := strings.LastIndex(log, powerOn); i >= 0 {
		log = log[i:]
	}
	var events []event
	for line := range strings.Lines(log) {
		stamp, text, ok := strings.Cut(strings.TrimPrefix(line, "["), "] ")
		at, err := strconv.ParseFloat(strings.TrimSpace(stamp), 64)
		if ok && err == nil {
			events = append(events, event{at, strings.TrimSpace(text)})
		}
	}
	return events
}

// marks are the moments before the agent, each named by what leads to it. A
// boot that has not all of them has fewer and longer steps.
var marks = []struct {
	name string
	line *regexp.Regexp
}{
	{"firmware, boot loader, until the kernel starts", regexp.MustCompile(`Linux version `)},
	{"kernel, until systemd runs in the initramfs", regexp.MustCompile(`systemd\[1\]: `)},
	{"devices, until state is mounted", regexp.MustCompile(`imgbuild: state: .*, `)},
	{"root opened, Ignition", regexp.MustCompile(`imgbuild: ignition done`)},
	{"system start, until the agent runs", regexp.MustCompile(`imgbuild: agent start`)},
}

// Lines of the agent: docs/architecture.md, "Contracts". The journal repeats
// them on the console behind a prefix of its own, a little later.
var (
	phaseStart = regexp.MustCompile(`^imgbuild: phase (\S+) start$`)
	phaseDone  = regexp.MustCompile(`^imgbuild: phase (\S+) done `)
	kubeadmTag = regexp.MustCompile(`^imgbuild: kubeadm (\S+) \(([0-9.]+)s\)`)
	importing  = regexp.MustCompile(`^bench: import (start|done)$`)
)

// steps takes a boot apart. What a step holds comes after it: the import is
// part of system start, kubeadm's steps are part of the phase init.
func steps(events []event) []step {
	var list []step
	last := 0.0
	for _, m := range marks {
		i := slices.IndexFunc(events, func(e event) bool { return m.line.MatchString(e.text) })
		if i < 0 {
			continue
		}
		list = append(list, step{m.name, events[i].at - last})
		last = events[i].at
	}
	started := map[string]float64{}
	// begin notes a step at its place; attempts after the first change nothing.
	begin := func(name string, at float64) {
		if _, ok := started[name]; !ok {
			started[name] = at
			list = append(list, step{name: name})
		}
	}
	end := func(name string, at float64) {
		i := slices.IndexFunc(list, func(s step) bool { return s.name == name })
		if from, ok := started[name]; ok && list[i].seconds == 0 {
			list[i].seconds = at - from
		}
	}
	for _, e := range events {
		switch {
		case importing.MatchString(e.text):
			if strings.HasSuffix(e.text, "start") {
				begin(stepImport, e.at)
			} else {
				end(stepImport, e.at)
			}
		case phaseStart.MatchString(e.text):
			begin("phase "+phaseStart.FindStringSubmatch(e.text)[1], e.at)
		case phaseDone.MatchString(e.text):
			end("phase "+phaseDone.FindStringSubmatch(e.text)[1], e.at)
		case kubeadmTag.MatchString(e.text):
			list = addKubeadm(list, kubeadmTag.FindStringSubmatch(e.text))
		}
	}
	return list
}

const stepImport = "of it: import of the images"

// addKubeadm adds what kubeadm itself says of its steps: of a step that was
// tried again, all attempts.
func addKubeadm(list []step, match []string) []step {
	name := "of it: kubeadm " + match[1]
	seconds, _ := strconv.ParseFloat(match[2], 64)
	if i := slices.IndexFunc(list, func(s step) bool { return s.name == name }); i >= 0 {
		list[i].seconds += seconds
		return list
	}
	return append(list, step{name, seconds})
}
