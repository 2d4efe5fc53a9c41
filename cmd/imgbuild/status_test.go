package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/netboot"
	"imgbuild/netboot/state"
)

// viewAt is a cluster of which one machine is being installed.
func viewAt(bytes int64) netboot.View {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	seen := now.Add(-3 * time.Second)
	return netboot.View{
		Cluster: "demo", Now: now, Ready: 1,
		Nodes: []netboot.NodeView{
			{Name: "master-1", Role: "master", Stage: state.Ready, Since: now.Add(-75 * time.Minute), Seen: &seen},
			{
				Name: "worker-1", Role: "worker", Stage: state.Installing, Since: now.Add(-95 * time.Second), Seen: &seen,
				Step: "writing", Bytes: bytes, Total: 400e6, Line: "writing to /dev/vda, 20.0 GB",
				Alarms: []state.Alarm{{At: seen, Text: "somebody asked"}},
			},
			{Name: "worker-2", Role: "worker", Stage: state.Waiting, Since: now.Add(-72 * time.Hour)},
		},
		Strangers: []state.Stranger{{MAC: "52:54:00:77:00:99", Asked: "for a boot script", Last: seen}},
	}
}

func TestTheTableOfMachines(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, writeView(&out, viewAt(100e6)))
	assert.Equal(t, `NODE      ROLE    STATE       FOR    LAST HEARD  WHAT IT DOES
master-1  master  ready       1h15m  3s ago      -
worker-1  worker  installing  1m35s  3s ago      25 % of 400 MB: writing to /dev/vda, 20.0 GB
worker-2  worker  waiting     3d     -           -
alarm: 2026-11-27T11:59:57Z worker-1: somebody asked
not in cluster.yaml: 52:54:00:77:00:99 asked for a boot script, last at 2026-11-27T11:59:57Z
`, out.String())
}

func TestChangesOfMachinesAreLines(t *testing.T) {
	var out bytes.Buffer
	c := &viewChanges{w: &out}
	require.NoError(t, c.show(viewAt(100e6)))
	require.NoError(t, c.show(viewAt(200e6)), "a percentage is no news")
	v := viewAt(400e6)
	v.Nodes[1].Stage, v.Nodes[1].Line = state.Installed, "installed, starting from its disk"
	require.NoError(t, c.show(v))
	assert.Equal(t, `master-1  ready
worker-1  installing  25 % of 400 MB: writing to /dev/vda, 20.0 GB
worker-2  waiting
worker-1  installed  installed, starting from its disk
`, out.String())
}
