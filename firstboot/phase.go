package firstboot

import (
	"context"
	"errors"
	"time"
)

// Phase is one step of a node's way into its cluster.
type Phase struct {
	Name string
	// Done looks at the system, not at a marker file.
	Done func(ctx context.Context) (bool, error)
	// Run does the step. It may have been interrupted at any instant before.
	Run func(ctx context.Context) error
}

// Stop is an error that no retry can cure: someone has to change something.
// Its text is one line that says what.
type Stop struct{ Reason string }

func (s Stop) Error() string { return s.Reason }

// The pauses between the attempts of a phase double from first to last.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// runner runs phases in order, each until it is done.
type runner struct {
	host    *Host
	console *console
	report  *report
}

// run returns nil once all phases are done, a Stop, or the context's error.
func (r *runner) run(ctx context.Context, phases []Phase) error {
	for _, p := range phases {
		if err := r.phase(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// phase repeats one phase without limit, since what it waits for may take any
// time: a switch that boots, another node, a person.
func (r *runner) phase(ctx context.Context, p Phase) error {
	r.report.begin(p.Name)
	start, started := r.host.Now(), false
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		done, err := p.Done(ctx)
		if done && err == nil {
			break
		}
		if !started {
			started = true
			r.console.say("phase %s start", p.Name)
		}
		if err == nil {
			err = p.Run(ctx)
		}
		if err == nil {
			r.host.Sync()
			break
		}
		if errors.As(err, new(Stop)) || ctx.Err() != nil {
			return err
		}
		if err := r.pause(ctx, p.Name, pause, err); err != nil {
			return err
		}
	}
	took := r.host.Now().Sub(start)
	if started {
		r.console.say("phase %s done (%.1fs, up %.1fs)", p.Name, took.Seconds(), r.host.uptime())
	}
	r.report.end(p.Name, took)
	return nil
}

// pause says why the phase is tried again and when. The jitter keeps machines
// that were powered on together from asking together.
func (r *runner) pause(ctx context.Context, name string, d time.Duration, reason error) error {
	d = max(firstPause, time.Duration(float64(d)*(0.5+0.5*r.host.Jitter()))).Round(100 * time.Millisecond)
	r.console.say("phase %s retry (%v; next in %v)", name, reason, d)
	r.report.retry(name, reason)
	return r.host.Sleep(ctx, d)
}

// gate is a phase that only waits: its check has no effect.
func gate(h *Host, name string, limit time.Duration, check func(context.Context) error) Phase {
	return Phase{
		Name: name,
		Done: func(ctx context.Context) (bool, error) {
			err := check(ctx)
			if errors.As(err, new(Stop)) {
				return false, err
			}
			return err == nil, nil
		},
		Run: func(ctx context.Context) error { return h.wait(ctx, limit, check) },
	}
}
