package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/lab"
)

// The table is drawn over the last one, and nothing of it wraps or scrolls.
func TestScreen(t *testing.T) {
	status := lab.Status{Nodes: []lab.NodeStatus{
		{Name: "lb-1", Role: "lb", Power: "on", Phase: "ready", Ready: true},
		{Name: "master-1", Role: "master", Power: "on", Phase: "init", WaitingFor: "something that takes a very long line to be told"},
	}}
	var out strings.Builder
	height := 24
	s := screen{w: &out, size: func() (int, int) { return 60, height }}
	require.NoError(t, s.show(status))
	assert.Equal(t, `NODE      ROLE    POWER  READY  PHASE  AGENT  API  READY AT…
lb-1      lb      on     yes    ready  -      -    -       …
master-1  master  on     no     init   -      -    -       …
service test: not passed
`, out.String())

	out.Reset()
	height = 3
	status.Nodes[1].WaitingFor = ""
	require.NoError(t, s.show(status))
	assert.Equal(t, "\x1b[4A\x1b[J"+"NODE      ROLE    POWER  READY  PHASE  AGENT  API  READY AT…\n… and 3 lines more\n", out.String())
	out.Reset()
	require.NoError(t, s.show(status))
	assert.True(t, strings.HasPrefix(out.String(), "\x1b[2A\x1b[J"))
}

// Elsewhere a node is told of when it changes, and not else.
func TestChanges(t *testing.T) {
	var out strings.Builder
	c := changes{w: &out, now: func() time.Time { return time.Date(2026, 1, 2, 16, 4, 5, 0, time.FixedZone("CET", 3600)) }}
	lb := lab.NodeStatus{Name: "lb-1", Role: "lb", Power: "off", Phase: "ready"}
	master := lab.NodeStatus{Name: "master-1", Role: "master", Power: "on", Phase: "init"}
	show := func() string {
		out.Reset()
		require.NoError(t, c.show(lab.Status{Nodes: []lab.NodeStatus{lb, master}}))
		return out.String()
	}
	assert.Equal(t, "15:04:05  lb-1  lb  off\n15:04:05  master-1  master  init\n", show())
	assert.Empty(t, show())
	master.WaitingFor = "the API"
	assert.Equal(t, "15:04:05  master-1  master  init, waiting for: the API\n", show())
	at := 9.0
	master.Seconds.Agent = &at
	assert.Empty(t, show())
	lb.Power = "on"
	master.Phase, master.WaitingFor, master.Stopped = "stopped", "", "no identity"
	assert.Equal(t, "15:04:05  lb-1  lb  ready\n15:04:05  master-1  master  stopped: no identity\n", show())
}

// firstWrite calls a function when something is written.
type firstWrite struct {
	strings.Builder
	then func()
}

func (w *firstWrite) Write(b []byte) (int, error) {
	w.then()
	return w.Builder.Write(b)
}

// Ctrl-C ends it, which is no failure.
func TestStatusWatch(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "cluster.yaml")
	var made, stderr strings.Builder
	require.Zero(t, run(t.Context(), []string{"init", "--topology", "external-etcd"}, nil, &made, &stderr))
	require.NoError(t, os.WriteFile(file, []byte(made.String()), 0o644))
	ctx, cancel := context.WithCancel(t.Context())
	out := &firstWrite{then: cancel}
	code := run(ctx, []string{"lab", "status", "--watch", "-c", file, "--cache", filepath.Join(dir, "cache")}, nil, out, &stderr)
	assert.Equal(t, exitDone, code)
	assert.Empty(t, stderr.String())
	for _, node := range []string{"lb-1  lb  off", "etcd-3  etcd  off", "master-2  master  off", "worker-1  worker  off"} {
		assert.Contains(t, out.String(), "  "+node+"\n")
	}
}
