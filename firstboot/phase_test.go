package firstboot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runPhases runs phases on a fake machine.
func runPhases(f *fake, ctx context.Context, phases ...Phase) error {
	m := f.machine()
	return (&runner{host: f.host, console: m.console, report: m.report}).run(ctx, phases)
}

// notDone is a phase with a Run of the test.
func notDone(name string, run func(context.Context) error) Phase {
	return Phase{Name: name, Done: never, Run: run}
}

func TestAPhaseThatIsDoneIsSilent(t *testing.T) {
	f := newFake(t)
	done := Phase{Name: "p", Done: func(context.Context) (bool, error) { return true, nil }}
	require.NoError(t, runPhases(f, t.Context(), done))
	assert.Empty(t, f.console.String())
}

func TestAPhaseIsTriedUntilItSucceedsWithGrowingPauses(t *testing.T) {
	f := newFake(t)
	attempts, synced := 0, 0
	f.host.Sync = func() { synced++ }
	f.host.Jitter = func() float64 { return 1 }
	require.NoError(t, runPhases(f, t.Context(), notDone("p", func(context.Context) error {
		if attempts++; attempts < 9 {
			return fmt.Errorf("waiting for attempt %d", attempts)
		}
		return nil
	})))
	var pauses []string
	for line := range strings.Lines(f.console.String()) {
		if _, pause, found := strings.Cut(line, "next in "); found {
			pauses = append(pauses, strings.TrimSuffix(pause, ")\n"))
		}
	}
	assert.Equal(t, []string{"1s", "2s", "4s", "8s", "16s", "30s", "30s", "30s"}, pauses)
	assert.Contains(t, f.console.String(), "imgbuild: phase p retry (waiting for attempt 1; next in 1s)\n")
	assert.Contains(t, f.console.String(), "imgbuild: phase p done (121.0s, up 152.2s)\n")
	assert.Equal(t, 1, synced, "what a phase wrote is on the disk before the next one starts")
}

func TestPausesAreJitteredAndNeverShorterThanASecond(t *testing.T) {
	f := newFake(t)
	f.host.Jitter = func() float64 { return 0 }
	var pauses []time.Duration
	f.host.Sleep = func(_ context.Context, d time.Duration) error { pauses = append(pauses, d); return nil }
	attempts := 0
	require.NoError(t, runPhases(f, t.Context(), notDone("p", func(context.Context) error {
		if attempts++; attempts < 8 {
			return errors.New("not yet")
		}
		return nil
	})))
	assert.Equal(t, []time.Duration{1e9, 1e9, 2e9, 4e9, 8e9, 15e9, 15e9}, pauses)
}

func TestAStopEndsAllPhases(t *testing.T) {
	f := newFake(t)
	err := runPhases(f, t.Context(),
		notDone("p", func(context.Context) error { return fmt.Errorf("wrapped: %w", Stop{"no disk"}) }),
		notDone("q", func(context.Context) error { t.Error("a phase after a stop"); return nil }))
	require.ErrorAs(t, err, new(Stop))
}

func TestAnInterruptEndsAPause(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := runPhases(f, ctx, notDone("p", func(context.Context) error { cancel(); return errors.New("killed") }))
	require.Error(t, err)
	assert.NotContains(t, f.console.String(), "retry")
}

func TestTheStatusSaysWhatIsWaitedFor(t *testing.T) {
	f := newFake(t)
	var seen Status
	attempts := 0
	require.NoError(t, runPhases(f, t.Context(), notDone("p", func(context.Context) error {
		if attempts++; attempts == 1 {
			return errors.New("waiting\nfor rain")
		}
		var err error
		seen, err = ReadStatus(f.host)
		return err
	})))
	assert.Equal(t, StateRunning, seen.State)
	assert.Equal(t, "p", seen.Phase)
	assert.Equal(t, "waiting for rain", seen.WaitingFor, "one line")
	assert.Equal(t, 1, seen.Phases[len(seen.Phases)-1].Retries)
}
