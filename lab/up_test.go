package lab

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// When up is done, when it fails, and what it says where it may not wait
// longer: two nodes, of which the second is a worker.
func TestUpLooks(t *testing.T) {
	const worker = markOn + "now\n[  50.000] imgbuild: ready (up 49.0s)\n"
	for _, test := range []struct {
		name, master, worker string
		off, noTest, done    bool
		err, summary         string
	}{
		{name: "all ready and tested", master: boot + booted + ready, worker: worker, done: true},
		{name: "a node is missing", master: boot + booted + ready,
			summary: "worker-1 is in phase power on"},
		{name: "not tested", master: markOn + "now\n[   9.000] imgbuild: check dns failed (no answer)\n[   9.100] imgbuild: ready (up 8.0s)\n", worker: worker,
			summary: "the service test has not passed (failed: dns no answer)"},
		{name: "not to be tested", master: markOn + "now\n[   9.000] imgbuild: ready (up 8.0s)\n", worker: worker, noTest: true, done: true},
		{name: "waiting", master: boot, worker: worker,
			summary: "master-1 is in phase init, waiting for: kubeadm init: exit 1 (port 6443); the service test has not passed"},
		{name: "stopped", master: boot + "[  46.000] imgbuild: stop: no identity\n", worker: worker,
			err: "master-1 has stopped: no identity"},
		{name: "off", master: boot + markOff + "the power was cut\n", worker: worker, off: true,
			err: "master-1 has no power any more (the power was cut): "},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &Lab{Dir: t.TempDir()}
			u := up{lab: l, UpOptions: UpOptions{ServiceTest: !test.noTest, Event: func(string, Event) {}}}
			for name, console := range map[string]string{"master-1": test.master, "worker-1": test.worker} {
				require.NoError(t, os.Mkdir(filepath.Join(l.Dir, name), 0o700))
				if console == "" {
					console = markOn + "now\n"
				}
				require.NoError(t, os.WriteFile(filepath.Join(l.Dir, name, consoleFile), []byte(console), 0o600))
			}
			for _, name := range []string{"master-1", "worker-1"} {
				f := l.follow(Node{Name: name})
				f.on = func() bool { return !test.off }
				u.nodes = append(u.nodes, f)
			}
			done, err := u.look()
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.done, done)
			assert.Equal(t, test.summary, u.summary())
		})
	}
}
