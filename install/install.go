package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"imgbuild/protocol"
)

// Installer installs one machine.
type Installer struct {
	Args
	Machine Machine
	// Say takes a line for people.
	Say func(format string, args ...any)
	// Client is for the server; its pin is in Args. Images is for the image, which
	// comes from anywhere.
	Client, Images *http.Client
	// Sleep is the clock's; nil is the real one.
	Sleep func(context.Context, time.Duration) error

	report *reporter
}

// again is the longest pause before a failed installation begins anew.
const again = time.Minute

// errRestart is an order that nobody gives: the machine is to start again, from
// whatever the server now wants.
var errRestart = errors.New("the server has no order for this machine")

// Run returns once the machine is to start again: its disk is bootable, or the
// server wants something else of it. It tries without limit, and an error means
// that it was interrupted.
func (i *Installer) Run(ctx context.Context) error {
	if i.Sleep == nil {
		i.Sleep = sleep
	}
	i.report = &reporter{}
	for pause := 2 * time.Second; ; pause = min(2*pause, again) {
		err := i.attempt(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errRestart):
			i.Say("install: %v: starting again in 30 s", err)
			return i.Sleep(ctx, 30*time.Second)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		step, word := protocol.StepInterrupts, "retry"
		if errors.As(err, new(refusal)) || errors.Is(err, errOther) {
			step, word = protocol.StepRefused, "refused"
		}
		i.Say("install: %s (%v; next in %v)", word, err, pause)
		i.report.wait()
		i.report.send(ctx, protocol.Progress{Step: step, Line: err.Error()})
		if err := i.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// attempt is one installation from its order to its end.
func (i *Installer) attempt(ctx context.Context) error {
	if err := i.Machine.Network(ctx, i.Args); err != nil {
		return err
	}
	order, err := i.order(ctx)
	if err != nil {
		return err
	}
	i.report = &reporter{client: i.Client, url: order.Report, nonce: i.Nonce}
	i.report.send(ctx, protocol.Progress{Step: protocol.StepLooking, Line: "looking for its disk"})
	m, err := i.manifest(ctx, order)
	if err != nil {
		return err
	}
	disk, device, err := i.disk(ctx, order, m)
	if err != nil {
		return err
	}
	defer device.Close()
	if err := i.write(ctx, order, m, disk, device); err != nil {
		return err
	}
	i.Say("install: %s is installed on %s", order.Node, disk)
	return i.done(ctx, m)
}

func (i *Installer) order(ctx context.Context) (protocol.Order, error) {
	data, status, err := get(ctx, i.Client, i.Order.String(), i.Nonce)
	if err != nil {
		return protocol.Order{}, fmt.Errorf("the order: %w", err)
	}
	switch status {
	case http.StatusOK:
		return protocol.OpenOrder(data)
	case http.StatusConflict, http.StatusForbidden:
		return protocol.Order{}, fmt.Errorf("%w: %s", errRestart, message(data))
	}
	return protocol.Order{}, fmt.Errorf("the order: %s: %d %s", i.Order, status, message(data))
}

func (i *Installer) manifest(ctx context.Context, o protocol.Order) (protocol.Manifest, error) {
	var parts [2][]byte
	for n, url := range []string{o.Manifest, o.Manifest + ".sig"} {
		data, status, err := get(ctx, i.Client, url, "")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s: %d", url, status)
		}
		if err != nil {
			return protocol.Manifest{}, fmt.Errorf("the image's manifest: %w", err)
		}
		parts[n] = data
	}
	m, err := protocol.OpenManifest(parts[0], string(parts[1]), i.Key)
	if err == nil && m.Role != o.Role {
		err = fmt.Errorf("the manifest is of an image of role %s, the order is for %s", m.Role, o.Role)
	}
	if err != nil {
		return m, refusal{err.Error()}
	}
	return m, nil
}

// disk finds the disk and makes sure that nothing is lost with it.
func (i *Installer) disk(ctx context.Context, o protocol.Order, m protocol.Manifest) (Disk, Device, error) {
	disks, err := i.Machine.Disks(ctx)
	if err != nil {
		return Disk{}, nil, err
	}
	d, err := choose(disks, o.Disk)
	if err != nil {
		return d, nil, err
	}
	if d.Size < m.RawSize {
		return d, nil, refusal{fmt.Sprintf("%s is too small: the image has %.1f GB", d, float64(m.RawSize)/1e9)}
	}
	device, err := i.Machine.Open(d)
	if err != nil {
		return d, nil, err
	}
	on, err := look(device, d.Size)
	if err == nil {
		err = allowed(on, o, d.String(), i.Machine.Holds(ctx, d))
	} else {
		err = fmt.Errorf("look at %s: %w", d, err)
	}
	if err != nil {
		device.Close()
		return d, nil, err
	}
	return d, device, nil
}

// write puts the image onto the disk. Only its last act makes the disk one that
// a firmware starts from.
func (i *Installer) write(ctx context.Context, o protocol.Order, m protocol.Manifest, d Disk, device Device) error {
	// The server must know before the first byte is gone: what is on the disk from
	// now on is ours to overwrite.
	if err := i.report.must(ctx, protocol.Progress{Step: protocol.StepWriting, Total: m.Size, Line: "writing to " + d.String()}, i.Say, i.Sleep); err != nil {
		return err
	}
	i.Say("install: writing %s to %s", o.Image, d)
	if err := begin(device, d.Size); err != nil {
		return fmt.Errorf("erase %s: %w", d, err)
	}
	if f, ok := device.(interface{ Forget() error }); ok {
		if err := f.Forget(); err != nil {
			return fmt.Errorf("%s: the kernel does not let go of its partitions: %w", d, err)
		}
	}
	f := i.fetch(ctx, o, m)
	defer f.Close()
	kept, err := unpack(device, f, m.RawSize)
	if err == nil {
		// Nothing comes after the frame, or it is not what was signed.
		_, err = io.Copy(io.Discard, f)
	}
	if err == nil {
		err = f.check(m.SHA256)
	}
	if err != nil {
		return err
	}
	if err := device.PutConfig(m.State, o.Ignition); err != nil {
		return fmt.Errorf("leave the config on %s: %w", d, err)
	}
	if err := kept.finish(device); err != nil {
		return fmt.Errorf("write the partition table of %s: %w", d, err)
	}
	return nil
}

// fetch reads the image, and says how far it is: often to the server, every tenth
// to who stands before the machine.
func (i *Installer) fetch(ctx context.Context, o protocol.Order, m protocol.Manifest) *fetch {
	f := newFetch(ctx, i.Images, o.Image, m.Size)
	f.sleep = i.Sleep
	f.lost = func(at int64, reason error, next time.Duration) {
		i.Say("install: the image stops at %d of %d bytes (%v; goes on in %v)", at, m.Size, reason, next)
	}
	var tenth int64
	var told time.Time
	f.got = func(at int64) {
		if now := at * 10 / m.Size; now > tenth {
			tenth = now
			i.Say("install: %d %% of %.0f MB", now*10, float64(m.Size)/1e6)
		}
		if time.Since(told) > time.Second || at == m.Size {
			told = time.Now()
			i.report.sendBeside(ctx, protocol.Progress{Step: protocol.StepWriting, Bytes: at, Total: m.Size})
		}
	}
	return f
}

// done tells the server, which must have heard it before the machine starts again:
// it would be installed once more.
func (i *Installer) done(ctx context.Context, m protocol.Manifest) error {
	i.report.wait()
	return i.report.must(ctx, protocol.Progress{Step: protocol.StepInstalled, Plan: m.Plan, Line: "installed, starting from its disk"}, i.Say, i.Sleep)
}
