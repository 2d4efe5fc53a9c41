package lab

import (
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClean(t *testing.T) {
	for raw, want := range map[string]string{
		"imgbuild: ready (up 1s)\r\n":                           "imgbuild: ready (up 1s)",
		"\x1b[2J\x1b[01;01H\x1b[=3h\x1b[0m\x1b[35m\x1b[40mBds":  "Bds",
		"[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mx\x1b[m": "[  OK  ] Started x",
		"\x1b]0;a title\x07text\x1b(B\x1b)0\x1bcend":            "textend",
		"a\tb\x00\x07\b ": "a b",
		"bad \xff bytes":  "bad � bytes",
		"\x1b[6n\r\n":     "",
	} {
		assert.Equal(t, want, clean(raw), "%q", raw)
	}
}

// Lines are whole however the machine's bytes arrive, and none is endless.
func TestRecordConsole(t *testing.T) {
	said := "\r\nfirst\r\n\x1b[0msecond\n" + strings.Repeat("x", 2*maxLine) + "\nno end of line"
	var log strings.Builder
	require.NoError(t, recordConsole(&log, iotest.OneByteReader(strings.NewReader(said)), time.Now()))
	recorded := strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")
	require.Len(t, recorded, 6)
	assert.True(t, strings.HasPrefix(recorded[0], markOn))
	for i, want := range []string{"first", "second", strings.Repeat("x", maxLine), strings.Repeat("x", maxLine), "no end of line"} {
		seconds, text, ok := split(recorded[i+1])
		assert.True(t, ok)
		assert.Equal(t, want, text)
		assert.Less(t, seconds, 60.0)
	}
}

// boot is a whole first boot of an init master.
const boot = `=== power on 2026-11-23T08:00:00Z
[   3.826] BdsDxe: starting Boot0001 "UEFI Misc Device"
[   5.100] [    0.000000] Linux version 6.12.57 (debian) #1 SMP
[  12.600] imgbuild: state: /dev/vda6, first boot
[  12.700] imgbuild: platform: qemu
[  18.900] imgbuild: ignition done
[  30.400] imgbuild: agent start (v1, up 31.2s)
[  30.400] [   31.2] imgbuild-firstboot[412]: imgbuild: agent start (v1, up 31.2s)
[  30.500] imgbuild: phase identity start
[  30.600] imgbuild: phase identity done (0.1s, up 31.3s)
[  31.000] imgbuild: phase init start
[  45.000] imgbuild: phase init retry (kubeadm init: exit 1 (port 6443); next in 4s)
`

const booted = `[  49.000] imgbuild: phase init start
[  80.000] imgbuild: phase init done (31.0s, up 79.0s)
[  85.000] imgbuild: api answers (up 84.0s)
[  90.000] imgbuild: node ready (up 89.0s)
[  91.000] imgbuild: phase service-test start
[  92.000] imgbuild: check pod passed (10.244.0.5 in 0.1s)
[  93.000] imgbuild: check dns failed (timeout (5s))
`

const ready = `[  99.000] imgbuild: check dns passed (10.96.0.7)
[  99.100] imgbuild: service test passed (up 98.0s)
[  99.200] imgbuild: phase service-test done (8.2s, up 98.1s)
[  99.300] imgbuild: ready (up 98.2s)
`

func TestTracker(t *testing.T) {
	for _, test := range []struct {
		name, console              string
		phase, waitingFor, stopped string
		isReady, passed            bool
		reached                    string
		checks                     int
	}{
		{name: "nothing", console: "", phase: ""},
		{name: "firmware", console: markOn + "now\n[   1.000] BdsDxe\n", phase: "power on"},
		{name: "a retry says what it waits for", console: boot, phase: "init",
			waitingFor: "kubeadm init: exit 1 (port 6443)", reached: "kernel initramfs ignition agent"},
		{name: "the next attempt still waits for it", console: boot + "[  49.000] imgbuild: phase init start\n", phase: "init",
			waitingFor: "kubeadm init: exit 1 (port 6443)", reached: "kernel initramfs ignition agent"},
		{name: "a failed check", console: boot + booted, phase: "service-test",
			reached: "kernel initramfs ignition agent api nodeReady", checks: 2},
		{name: "ready", console: boot + booted + ready, phase: "ready", isReady: true, passed: true,
			reached: "kernel initramfs ignition agent api nodeReady serviceTest ready", checks: 2},
		{name: "a reboot starts over, the service test stays passed",
			console: boot + booted + ready + "[ 200.000] [    0.000000] Linux version 6.12.57\n",
			phase:   "kernel", passed: true, reached: "kernel", checks: 2},
		{name: "so does power", console: boot + booted + ready + markOff + "the power was cut\n" + markOn + "now\n",
			phase: "power on", passed: true, checks: 2},
		{name: "a new disk of a cluster that was tested before",
			console: boot + "[  91.000] imgbuild: service test passed in an earlier boot\n[  92.000] imgbuild: ready (up 91.0s)\n",
			phase:   "ready", isReady: true, passed: true, reached: "kernel initramfs ignition agent ready"},
		{name: "a further service test replaces the first", console: boot + booted + ready + markOn + "now\n[   9.000] imgbuild: check pod failed (no answer)\n",
			phase: "power on", checks: 1},
		{name: "the agent gives up", console: boot + "[  46.000] imgbuild: stop: image images: registry.k8s.io/pause is missing\n",
			phase: "stopped", stopped: "image images: registry.k8s.io/pause is missing", reached: "kernel initramfs ignition agent"},
		{name: "the kernel gives up", console: boot + "[  46.000] [   40.1] Kernel panic - not syncing: VFS: no root\n",
			phase: "stopped", stopped: "kernel panic - not syncing: VFS: no root", reached: "kernel initramfs ignition agent"},
		{name: "others may speak of imgbuild", console: markOn + "now\n[   9.000] Starting imgbuild: ready (or not)\n[   9.100] imgbuild: \n[x] imgbuild: ready\nimgbuild: ready\n",
			phase: "power on"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var tr tracker
			for line := range strings.Lines(test.console) {
				tr.line(strings.TrimSuffix(line, "\n"))
			}
			s := tr.status
			assert.Equal(t, test.phase, s.Phase)
			assert.Equal(t, test.waitingFor, s.WaitingFor)
			assert.Equal(t, test.stopped, s.Stopped)
			assert.Equal(t, test.isReady, s.Ready)
			assert.Equal(t, test.passed, tr.test.Passed)
			assert.Len(t, tr.test.Checks, test.checks)
			assert.Equal(t, test.reached, reached(s.Seconds))
		})
	}
}

// reached names the milestones that were.
func reached(m Milestones) string {
	var names []string
	for _, one := range []struct {
		name string
		at   *float64
	}{
		{"kernel", m.Kernel}, {"initramfs", m.Initramfs}, {"ignition", m.Ignition}, {"agent", m.Agent},
		{"api", m.API}, {"nodeReady", m.NodeReady}, {"serviceTest", m.ServiceTest}, {"ready", m.Ready},
	} {
		if one.at != nil {
			names = append(names, one.name)
		}
	}
	return strings.Join(names, " ")
}

// What up shows: every event once.
func TestEvents(t *testing.T) {
	var tr tracker
	var events strings.Builder
	for line := range strings.Lines(boot) {
		if e, ok := tr.line(strings.TrimSuffix(line, "\n")); ok {
			fmt.Fprintf(&events, "%+.1fs  %s\n", e.Seconds, e.Text)
		}
	}
	golden(t, "testdata/events.golden", events.String())
}

func FuzzConsole(f *testing.F) {
	f.Add(boot + booted + ready)
	f.Add("\x1b[2Jimgbuild: phase  retry (; next in \r\n=== power on \nimgbuild: check  passed (")
	f.Fuzz(func(t *testing.T, said string) {
		var log strings.Builder
		require.NoError(t, recordConsole(&log, strings.NewReader(said), time.Now()))
		var tr tracker
		for line := range strings.Lines(log.String()) {
			assert.NotContains(t, line, "\x1b")
			tr.line(strings.TrimSuffix(line, "\n"))
		}
		if tr.status.Ready {
			assert.Empty(t, tr.status.Stopped)
		}
	})
}
