package firstboot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	consoles "imgbuild/console"
)

// Host is the machine as the phases see it. Every effect goes through it, so
// that a test can be a machine: a directory, a clock and a few functions.
type Host struct {
	// Root is prepended to every path: "/" on a node.
	Root string
	// Out takes the agent's lines and the output of kubeadm: the journal.
	Out io.Writer
	// Console takes the agent's lines only.
	Console io.Writer
	// Execute runs a program to its end.
	Execute func(ctx context.Context, c Command) error
	// Dial connects to the API, to pods and to the cluster's DNS.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Hostname is the kernel's.
	Hostname func() (string, error)
	// CPUs is how many processors it has; 0 is unknown.
	CPUs int
	// Interfaces are the network interfaces and their addresses.
	Interfaces func() ([]Interface, error)
	// Now and Sleep are the clock. Sleep returns early with the context's error.
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
	// Every does something in the background, again and again after d, until
	// the context ends.
	Every func(ctx context.Context, d time.Duration, do func(context.Context))
	// Jitter is a random number in [0, 1).
	Jitter func() float64
	// Sync writes all files back to the disk.
	Sync func()
}

// Command is one program to run. Its arguments are visible to everyone on the
// machine, so they never hold a secret.
type Command struct {
	Name           string
	Args           []string
	Stdout, Stderr io.Writer
}

func (c Command) String() string {
	return strings.Join(append([]string{c.Name}, c.Args...), " ")
}

// Interface is a network interface.
type Interface struct {
	Name, MAC string
	MTU       int
	Addresses []string
}

// NewHost is the machine that the agent runs on.
func NewHost(out io.Writer) *Host {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &Host{
		Root:       "/",
		Out:        out,
		Console:    consoles.Devices{Root: "/"},
		Execute:    execute,
		Dial:       dialer.DialContext,
		Hostname:   os.Hostname,
		CPUs:       runtime.NumCPU(),
		Interfaces: interfaces,
		Now:        time.Now,
		Sleep:      sleep,
		Every:      every,
		Jitter:     rand.Float64,
		Sync:       syscall.Sync,
	}
}

// path is where a file of the node is.
func (h *Host) path(name string) string { return filepath.Join(h.Root, name) }

// exists says whether there is something at a path of the node.
func (h *Host) exists(name string) bool {
	_, err := os.Lstat(h.path(name))
	return err == nil
}

func (h *Host) read(name string) ([]byte, error) { return os.ReadFile(h.path(name)) }

// uptime is the kernel's, in seconds; 0 where it cannot be read.
func (h *Host) uptime() float64 {
	data, err := h.read("/proc/uptime")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(data), " ")
	seconds, err := strconv.ParseFloat(strings.TrimSpace(first), 64)
	if err != nil {
		return 0
	}
	return seconds
}

// wait calls check until it succeeds, stops or the limit has passed; then it
// returns check's last error. It asks once a second at first and less often what
// takes longer: those who answer are busy.
func (h *Host) wait(ctx context.Context, limit time.Duration, check func(context.Context) error) error {
	start := h.Now()
	end := start.Add(limit)
	for {
		err := check(ctx)
		if err == nil || errors.As(err, new(Stop)) || !h.Now().Before(end) {
			return err
		}
		pause := min(time.Second+h.Now().Sub(start)/20, 5*time.Second)
		if err := h.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// run executes a program and puts the end of what it said on stderr into the error.
func (h *Host) run(ctx context.Context, name string, args ...string) (stdout string, err error) {
	var out, complaint strings.Builder
	c := Command{Name: name, Args: args, Stdout: &out, Stderr: &complaint}
	if err := h.Execute(ctx, c); err != nil {
		return "", fmt.Errorf("%s: %w%s", c, err, tail(complaint.String()))
	}
	return out.String(), nil
}

// tail is the end of a program's complaint, fit for one line of the console.
func tail(s string) string {
	const lines, letters = 3, 400
	var kept []string
	for line := range strings.SplitSeq(s, "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "To see the stack trace") {
			kept = append(kept, line)
		}
	}
	text := strings.Join(kept[max(0, len(kept)-lines):], " ")
	if len(text) > letters {
		text = "…" + strings.ToValidUTF8(text[len(text)-letters:], "")
	}
	if text == "" {
		return ""
	}
	return ": " + text
}

// execute runs a real program. When the context ends it gets SIGTERM, and
// SIGKILL ten seconds later.
func execute(ctx context.Context, c Command) error {
	cmd := exec.CommandContext(ctx, c.Name, c.Args...)
	cmd.Stdout, cmd.Stderr = c.Stdout, c.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.Run()
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func every(ctx context.Context, d time.Duration, do func(context.Context)) {
	go func() {
		for sleep(ctx, d) == nil {
			do(ctx)
		}
	}()
}

func interfaces() ([]Interface, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var found []Interface
	for _, i := range list {
		addresses, err := i.Addrs()
		if err != nil {
			continue // gone since the list was made
		}
		entry := Interface{Name: i.Name, MAC: i.HardwareAddr.String(), MTU: i.MTU}
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok {
				entry.Addresses = append(entry.Addresses, n.IP.String())
			}
		}
		found = append(found, entry)
	}
	return found, nil
}

// call is run for programs whose output nobody needs.
func (h *Host) call(ctx context.Context, name string, args ...string) error {
	_, err := h.run(ctx, name, args...)
	return err
}
