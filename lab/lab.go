// Package lab runs the machines of one cluster as local QEMU machines: a
// network of their own, UEFI firmware, serial consoles that are read and kept,
// and the power switch of each.
//
// It takes plain inputs: images, Ignition configs and a kubeconfig that others
// made. It does not build images, render configs, or speak to the API of the
// cluster; what it knows of a node it reads from that node's console. It needs
// nothing running between two commands: all state is files below Dir, and a
// small supervisor per machine that is on.
package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// The lab's own files, beside the machines' directories: no node's name starts
// with a dot.
const (
	lockFile    = ".lock"
	networkFile = ".netns"
	kubectlDir  = ".kubectl"
)

// Lab is the cluster's place on this host.
type Lab struct {
	// Name of the cluster, a DNS label.
	Name string
	// Dir holds one directory per machine. Down removes it as a whole.
	Dir string
	// Subnet is the nodes' network. The host's side of it gets Gateway, if
	// valid, and the last address that is not in Taken.
	Subnet  netip.Prefix
	Gateway netip.Addr
	// Taken are the addresses of the nodes and of what they share.
	Taken []netip.Addr
	// Supervisor is the command that ends up in Supervise; a machine's
	// directory is appended to it.
	Supervisor []string
}

// Node is one machine and everything it is started with.
type Node struct {
	Name, Role string
	// MAC of its only interface.
	MAC string
	// Image is the raw disk image that its disk starts as.
	Image string
	// NetBoot is how it starts from the network, without an Image, if it does.
	NetBoot NetBoot
	// Ignition is its config. It holds secrets and never becomes a file.
	Ignition  []byte
	CPUs      int
	MemoryMiB int64
	// DiskBytes is the size of the disk; the image's own where that is larger.
	DiskBytes int64
	// Raw are further disks, which are empty when they are new. They outlive a new
	// system disk, as those of a real machine do.
	Raw []RawDisk
	// Clock is how far its clock is ahead of the host's when it gets its power;
	// less than 0 is behind.
	Clock time.Duration
}

// RawDisk is a disk beside the one that the machine starts from.
type RawDisk struct {
	// Serial is what the machine knows it by, as /dev/disk/by-id/virtio-SERIAL:
	// at most 20 letters, digits and dashes.
	Serial string
	Bytes  int64
}

// Start gives a machine its power; it is no error if it has it already, which
// the result says. A machine that was on before keeps its disk.
func (l *Lab) Start(ctx context.Context, n Node) (started bool, err error) {
	err = l.locked(ctx, func() error {
		started, err = l.start(ctx, n)
		return err
	})
	return started, err
}

// Connect makes the machines' network before the first of them is on, and returns
// the command that runs another one in it, and the interface there. Only root has
// a place in that network.
func (l *Lab) Connect(ctx context.Context) (enter []string, iface string, err error) {
	n := l.network()
	if !n.root {
		return nil, "", errors.New("the machines' network can be entered by root only")
	}
	err = l.locked(ctx, func() error { return n.create(ctx) })
	return n.enter(nil), bridge, err
}

// Kill cuts the power of a machine, as if the plug were pulled; the result
// says whether it was on.
func (l *Lab) Kill(ctx context.Context, name string) (was bool, err error) {
	if l.absent() {
		return false, nil
	}
	err = l.locked(ctx, func() error {
		was, err = l.machine(name).kill(ctx)
		return err
	})
	return was, err
}

// Reimage starts a machine with a fresh disk, fresh firmware variables and an
// empty console.
func (l *Lab) Reimage(ctx context.Context, n Node) error {
	return l.locked(ctx, func() error {
		m := l.machine(n.Name)
		if _, err := m.kill(ctx); err != nil {
			return err
		}
		if err := m.forget(); err != nil {
			return fmt.Errorf("remove the disk of %s: %w", n.Name, err)
		}
		_, err := l.start(ctx, n)
		return err
	})
}

// Down stops every machine of the lab, whatever the cluster's nodes are by
// now, and removes its network and its directory.
func (l *Lab) Down(ctx context.Context) error {
	if l.absent() {
		return nil
	}
	return l.locked(ctx, func() error {
		entries, err := os.ReadDir(l.Dir)
		if err != nil {
			return fmt.Errorf("lab down: %w", err)
		}
		for _, e := range entries {
			if !e.IsDir() {
				continue
			}
			if _, err := l.machine(e.Name()).kill(ctx); err != nil {
				return err
			}
		}
		if err := l.network().remove(ctx); err != nil {
			return err
		}
		if err := os.RemoveAll(l.Dir); err != nil {
			return fmt.Errorf("lab down: %w", err)
		}
		return nil
	})
}

func (l *Lab) start(ctx context.Context, n Node) (started bool, err error) {
	m := l.machine(n.Name)
	if m.on() {
		return false, nil
	}
	fresh := !m.hasDisk()
	defer func() {
		if err == nil {
			return
		}
		if fresh {
			err = errors.Join(err, m.forget())
		}
		err = errors.Join(err, l.tidy(context.WithoutCancel(ctx)))
	}()
	if err := CheckHost(); err != nil {
		return false, err
	}
	if err := m.prepare(ctx, n); err != nil {
		return false, err
	}
	network := l.network()
	netdev, err := network.attach(ctx, n.MAC)
	if err != nil {
		return false, err
	}
	spec := spec{
		Argv:     argv(hardware{Lab: l.Name, Node: n, KVM: KVMUsable(), Netdev: netdev, Now: time.Now()}),
		Ignition: n.Ignition,
		TimeAt:   l.timeAt(),
	}
	if err := m.powerOn(ctx, network.enter(l.Supervisor), spec); err != nil {
		return false, fmt.Errorf("start %s: %w", n.Name, err)
	}
	return true, nil
}

// tidy removes the network where no machine is on, and the lab's directory
// where no machine has a disk.
func (l *Lab) tidy(ctx context.Context) error {
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		return err
	}
	disks := false
	for _, e := range entries {
		m := l.machine(e.Name())
		if m.on() {
			return nil
		}
		disks = disks || m.hasDisk() || len(m.rawDisks()) > 0
	}
	if err := l.network().remove(ctx); err != nil || disks {
		return err
	}
	return os.RemoveAll(l.Dir)
}

func (l *Lab) machine(name string) machine {
	return machine{lab: l.Name, name: name, dir: filepath.Join(l.Dir, name)}
}

// absent tells that the lab never was up, or is down.
func (l *Lab) absent() bool {
	_, err := os.Stat(l.Dir)
	return errors.Is(err, os.ErrNotExist)
}

// locked runs f while no other imgbuild changes this lab.
func (l *Lab) locked(ctx context.Context, f func() error) error {
	lock, err := l.lock(ctx)
	if err != nil {
		return fmt.Errorf("lock the lab %s: %w", l.Name, err)
	}
	defer lock.Close()
	return f()
}

func (l *Lab) lock(ctx context.Context) (*os.File, error) {
	name := filepath.Join(l.Dir, lockFile)
	for {
		if err := os.MkdirAll(l.Dir, 0o700); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil && sameFile(f, name) {
			return f, nil
		}
		f.Close()
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// sameFile tells whether the open file still has that name: lab down removes
// the lock together with everything else.
func sameFile(f *os.File, name string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(name)
	return err == nil && os.SameFile(open, named)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
