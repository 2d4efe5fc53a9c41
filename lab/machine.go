package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The processes of a machine leave their numbers in these files.
const (
	qemuPID       = "pid"
	supervisorPID = "supervisor.pid"
)

// machine is one directory: disk, firmware variables, console and, while it
// is on, the numbers of its processes.
type machine struct{ lab, name, dir string }

// on tells whether the machine has power: whether its QEMU runs.
func (m machine) on() bool {
	p := m.process(qemuPID, m.isQEMU)
	if p != nil {
		p.Release()
	}
	return p != nil
}

// process opens the process of that file, if it is there and is what the file
// says: numbers are used again after a crash or a reboot of the host. The
// handle stays with this very process.
func (m machine) process(file string, ours func(pid int) bool) *os.Process {
	text, err := os.ReadFile(filepath.Join(m.dir, file))
	if err != nil {
		return nil
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return nil
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return nil
	}
	if !ours(pid) {
		p.Release()
		return nil
	}
	return p
}

func (m machine) isQEMU(pid int) bool {
	return slices.Contains(commandLine(pid), title(m.lab, m.name)) && sameDirectory(fmt.Sprintf("/proc/%d/cwd", pid), m.dir)
}

func (m machine) isSupervisor(pid int) bool {
	args := commandLine(pid)
	return len(args) > 0 && args[len(args)-1] == m.dir
}

// commandLine is empty for a process that has ended or does not exist.
func commandLine(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}

func sameDirectory(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// kill ends QEMU and returns when its supervisor has gone, too.
func (m machine) kill(ctx context.Context) (bool, error) {
	// Asked first: it removes its file a moment before it ends.
	supervisor := 0
	if p := m.process(supervisorPID, m.isSupervisor); p != nil {
		supervisor = p.Pid
		p.Release()
	}
	p := m.process(qemuPID, m.isQEMU)
	was := p != nil
	if was {
		defer p.Release()
		if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return was, fmt.Errorf("kill %s: %w", m.name, err)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, errors.New("its processes did not end in 20 s"))
	defer cancel()
	for m.on() || m.isSupervisor(supervisor) {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return was, fmt.Errorf("kill %s: %w", m.name, err)
		}
	}
	return was, nil
}

// powerOn starts the supervisor, which outlives this process, and waits until
// it says that QEMU runs.
func (m machine) powerOn(ctx context.Context, supervisor []string, s spec) error {
	input, err := json.Marshal(s)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(m.dir, logFile), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	answer, stdout, err := os.Pipe()
	if err != nil {
		return err
	}
	defer answer.Close()
	cmd := exec.Command(supervisor[0], append(slices.Clone(supervisor[1:]), m.dir)...)
	cmd.Dir = m.dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), stdout, log
	// A session of its own: the terminal's Ctrl-C is not for the machines.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		stdout.Close()
		return err
	}
	stdout.Close()
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // Only to collect it: its answer says how it went.
		close(ended)
	}()
	// Unblocks the read below.
	stop := context.AfterFunc(ctx, func() { answer.SetReadDeadline(time.Now()) })
	defer stop()
	line, err := bufio.NewReader(answer).ReadString('\n')
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err != nil:
		err = fmt.Errorf("its supervisor ended: %s", tail(log.Name()))
	case line != answerOn:
		err = errors.New(strings.TrimSpace(line))
	}
	if err != nil {
		// SIGTERM lets the supervisor end QEMU and clean up.
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	}
	return err
}

// tail is the end of a log for an error message, in one line.
func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
	if len(lines) == 0 {
		return "it said nothing"
	}
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}
