package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Two nodes become Ready one after the other: what is shown, and when it ends.
func TestWatch(t *testing.T) {
	l := &Lab{Dir: t.TempDir()}
	say := func(name, text string) {
		f, err := os.OpenFile(filepath.Join(l.Dir, name, consoleFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		_, err = f.WriteString(text)
		require.NoError(t, errors.Join(err, f.Close()))
	}
	var followers []*follower
	for _, name := range []string{"lb-1", "master-1"} {
		require.NoError(t, os.Mkdir(filepath.Join(l.Dir, name), 0o700))
		f := l.follow(Node{Name: name})
		f.on = func() bool { return true }
		followers = append(followers, f)
	}
	// In the bubble a pause takes no time: the machines speak while Watch waits.
	synctest.Test(t, func(t *testing.T) {
		go func() {
			for _, said := range []struct{ node, text string }{
				{"lb-1", markOn + "now\n[   9.000] imgbuild: ready (up 8.0s)\n"},
				{"master-1", boot},
				{"master-1", "[  48.000] nothing that the status tells\n"},
				{"master-1", booted + ready},
			} {
				assert.NoError(t, pause(t.Context(), watchPoll*3/2))
				say(said.node, said.text)
			}
		}()
		var shown []string
		allReady, err := watch(t.Context(), followers, func(s Status) error {
			shown = append(shown, s.Nodes[0].Phase+","+s.Nodes[1].Phase)
			return nil
		})
		require.NoError(t, err)
		assert.True(t, allReady)
		assert.Equal(t, []string{",", "ready,", "ready,init", "ready,ready"}, shown)
	})
}

func TestWatchEndsWithItsContextAndItsReader(t *testing.T) {
	l := &Lab{Dir: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	allReady, err := l.Watch(ctx, []Node{{Name: "master-1"}}, func(Status) error { cancel(); return nil })
	require.NoError(t, err)
	assert.False(t, allReady)
	closed := errors.New("closed")
	_, err = l.Watch(t.Context(), []Node{{Name: "master-1"}}, func(Status) error { return closed })
	assert.ErrorIs(t, err, closed)
}
