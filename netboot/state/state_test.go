package state_test

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/netboot/state"
)

var start = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// installed is a machine that has gone the whole way to its disk.
func installed(t *testing.T) state.Node {
	t.Helper()
	n := state.New("worker-1", "nonce", start)
	require.True(t, n.Boots(start))
	overwrite, err := n.Ordered(start)
	require.NoError(t, err)
	require.False(t, overwrite)
	n.Begun()
	require.NoError(t, n.Finished("plan", start))
	return n
}

func TestAMachineGoesThroughAllStages(t *testing.T) {
	n := state.New("worker-1", "nonce", start)
	assert.Equal(t, state.Waiting, n.Stage)
	assert.True(t, n.Boots(start))
	assert.Equal(t, state.Discovered, n.Stage)
	_, err := n.Ordered(start.Add(time.Second))
	require.NoError(t, err)
	assert.Equal(t, state.Installing, n.Stage)
	n.Begun()
	require.NoError(t, n.Finished("plan", start.Add(2*time.Second)))
	assert.Equal(t, state.Installed, n.Stage)
	require.NoError(t, n.Claim("age1a", "a", "10.0.0.1", start.Add(3*time.Second)))
	assert.Equal(t, state.Claimed, n.Stage)
	n.BecameReady(start.Add(4 * time.Second))
	assert.Equal(t, state.Ready, n.Stage)
	assert.Equal(t, start.Add(2*time.Second), n.Since[state.Installed])
	assert.Equal(t, 1, n.Installs)
}

// Whatever a machine does at its reboots, it is installed once.
func TestAHundredRebootsNeverInstallAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	n := installed(t)
	for i := range 100 {
		now := start.Add(time.Duration(i) * time.Hour)
		assert.False(t, n.Boots(now), "reboot %d", i)
		_, err := n.Ordered(now)
		assert.ErrorIs(t, err, state.ErrInstalled)
		assert.False(t, n.Overwrite)
		switch r.IntN(3) {
		case 0:
			_ = n.Claim("age1a", "a", "10.0.0.1", now)
		case 1:
			if n.Stage == state.Claimed {
				n.BecameReady(now)
			}
		default:
			if n.Stage == state.Installed {
				assert.NoError(t, n.Finished("plan", now), "the installer did not hear the answer")
			}
		}
		if n.Stage != state.Installed && r.IntN(4) == 0 {
			assert.Error(t, n.Finished("other", now), "nobody has asked it to install")
		}
	}
	assert.Equal(t, 1, n.Installs)
	assert.Equal(t, "plan", n.Plan)
}

// A machine whose power is cut while it installs does it again, over what it left.
func TestAnInterruptedInstallationGoesOn(t *testing.T) {
	n := state.New("worker-1", "nonce", start)
	for range 3 {
		assert.True(t, n.Boots(start))
		_, err := n.Ordered(start)
		require.NoError(t, err)
		n.Begun()
	}
	overwrite, err := n.Ordered(start)
	require.NoError(t, err)
	assert.True(t, overwrite, "it may be our own image, whose end nobody heard of")
	require.NoError(t, n.Finished("plan", start))
	assert.Equal(t, 1, n.Installs)
}

func TestReinstallIsOnce(t *testing.T) {
	n := installed(t)
	require.NoError(t, n.Claim("age1a", "a", "10.0.0.1", start))
	n.Reinstall("other", start)
	assert.Equal(t, "other", n.Nonce)
	assert.True(t, n.Boots(start))
	overwrite, err := n.Ordered(start)
	require.NoError(t, err)
	assert.True(t, overwrite)
	require.NoError(t, n.Finished("plan-2", start))
	assert.False(t, n.Boots(start), "once")
	assert.Equal(t, 2, n.Installs)
	assert.NoError(t, n.Claim("age1b", "b", "10.0.0.1", start), "with a new key")
}

func TestOneKeyClaims(t *testing.T) {
	n := installed(t)
	require.NoError(t, n.Claim("age1a", "a", "10.0.0.1", start))
	require.NoError(t, n.Claim("age1a", "a", "10.0.0.1", start), "the same one may try again")
	assert.Empty(t, n.Alarms)

	err := n.Claim("age1b", "b", "10.0.0.9", start)
	assert.ErrorIs(t, err, state.ErrGone)
	require.Len(t, n.Alarms, 1)
	assert.Contains(t, n.Alarms[0].Text, "10.0.0.9")
	_ = n.Claim("age1b", "b", "10.0.0.9", start.Add(time.Minute))
	assert.Len(t, n.Alarms, 1, "the same alarm is one")

	require.NoError(t, n.Reissue(start))
	require.NoError(t, n.Claim("age1b", "b", "10.0.0.9", start))
	assert.ErrorIs(t, n.Claim("age1a", "a", "10.0.0.1", start), state.ErrGone)

	n.BecameReady(start)
	assert.ErrorIs(t, n.Claim("age1b", "b", "10.0.0.9", start), state.ErrGone, "the bundle is destroyed")
	for i := range 50 {
		n.Alarm(start, string(rune('a'+i)))
	}
	assert.LessOrEqual(t, len(n.Alarms), 20)
}

func TestReissueOfNothing(t *testing.T) {
	n := state.New("worker-1", "nonce", start)
	assert.ErrorContains(t, n.Reissue(start), "nobody has claimed")
}

func TestTheStoreRemembers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.db")
	s, err := state.Open(file)
	require.NoError(t, err)
	require.NoError(t, s.Ensure([]string{"worker-1"}, func() string { return "one" }, start))
	_, err = s.Change("worker-1", func(n *state.Node) error { n.Boots(start); return nil })
	require.NoError(t, err)
	refused := errors.New("no")
	_, err = s.Change("worker-1", func(n *state.Node) error { n.Alarm(start, "look"); return refused })
	assert.ErrorIs(t, err, refused)
	require.NoError(t, s.Stranger("52:54:00:00:00:01", "to start", start))

	_, err = state.Open(file)
	assert.ErrorContains(t, err, "another imgbuild serve has it")
	require.NoError(t, s.Close())

	s, err = state.Open(file)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Ensure([]string{"worker-1", "worker-2"}, func() string { return "two" }, start))
	n, err := s.Node("worker-1")
	require.NoError(t, err)
	assert.Equal(t, state.Discovered, n.Stage)
	assert.Equal(t, "one", n.Nonce)
	assert.Len(t, n.Alarms, 1, "what was refused is remembered")
	n, err = s.Node("worker-2")
	require.NoError(t, err)
	assert.Equal(t, "two", n.Nonce)
	_, err = s.Node("worker-3")
	assert.ErrorIs(t, err, state.ErrUnknown)
	list, err := s.Strangers()
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Equal(t, "to start", list[0].Asked)
}
