package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/lab"
)

func readEvents(t *testing.T, file string) []event {
	t.Helper()
	log, err := os.ReadFile(file)
	require.NoError(t, err)
	return lastBoot(string(log))
}

// The console of a first boot, taken apart.
func TestSteps(t *testing.T) {
	var b strings.Builder
	for _, s := range steps(readEvents(t, "testdata/first-boot.console")) {
		fmt.Fprintf(&b, "%8.3f  %s\n", s.seconds, s.name)
	}
	golden(t, "testdata/first-boot.golden", b.String())
}

func TestLastBootOnly(t *testing.T) {
	events := lastBoot("=== power on A\n[   1.000] imgbuild: ready (up 1s)\n=== power off: killed\n=== power on B\n" +
		"[   2.500] imgbuild: agent start (v1, up 2s)\nno stamp\n[x] y\n[  12.000] [   10.0] imgbuild: phase init retry (x; next in 4s)\n")
	assert.Equal(t, []event{{2.5, "imgbuild: agent start (v1, up 2s)"}, {12, "[   10.0] imgbuild: phase init retry (x; next in 4s)"}}, events)
	assert.Equal(t, []step{{"system start, until the agent runs", 2.5}}, steps(events))
}

// A phase lasts from its first attempt to its end, and kubeadm's steps are
// summed over attempts.
func TestStepsOfRepeatedAttempts(t *testing.T) {
	got := steps([]event{
		{10, "imgbuild: phase init start"},
		{12, "imgbuild: kubeadm certs (1.5s)"},
		{20, "imgbuild: phase init retry (kubeadm init: exit 1; next in 4s)"},
		{24, "imgbuild: phase init start"},
		{25, "imgbuild: kubeadm certs (0.5s)"},
		{30, "imgbuild: phase init done (6.0s, up 29.0s)"},
		{30.5, "[   29.5] imgbuild-firstboot[412]: imgbuild: phase init done (6.0s, up 29.0s)"},
		{31, "imgbuild: phase node start"},
	})
	assert.Equal(t, []step{{"phase init", 20}, {"of it: kubeadm certs", 2}, {"phase node", 0}}, got)
}

func TestMoments(t *testing.T) {
	at := func(v float64) *float64 { return &v }
	got := moments(lab.Milestones{Kernel: at(5), Agent: at(30), ServiceTest: at(98), Ready: at(99)})
	assert.Equal(t, []step{{"the kernel starts", 5}, {"the agent starts", 30}, {"the service test has passed", 98}, {"the agent is done", 99}}, got)
}
