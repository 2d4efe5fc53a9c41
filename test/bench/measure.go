package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cost is what a command took.
type cost struct {
	// seconds by the clock, cpu of all its processes.
	seconds, cpu float64
	// peak is the most memory of all its processes at a time, MiB.
	peak float64
	// written is what reached the disk, MiB; negative where that is not known.
	written float64
}

// and is the cost of two commands, one after the other.
func (c cost) and(d cost) cost {
	sum := cost{seconds: c.seconds + d.seconds, cpu: c.cpu + d.cpu, peak: max(c.peak, d.peak), written: c.written + d.written}
	if c.written < 0 || d.written < 0 {
		sum.written = -1
	}
	return sum
}

// costs are the samples of repeated commands.
type costs struct{ seconds, cpu, peak, written sample }

func (s *costs) add(c cost) {
	s.seconds, s.cpu, s.peak = append(s.seconds, c.seconds), append(s.cpu, c.cpu), append(s.peak, c.peak)
	if c.written >= 0 {
		s.written = append(s.written, c.written)
	}
}

// measure runs a command. dir tells on which disk writes are counted.
func measure(ctx context.Context, cmd *exec.Cmd, dir string) (cost, error) {
	var stderr bytes.Buffer
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	ownGroup(cmd)
	// What others wrote before is not counted, what this one leaves in the
	// page cache is. Files that are gone by then never reach the disk.
	unix.Sync()
	before, known := writtenTo(dir)
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return cost{}, err
	}
	peak := watchMemory(cmd.Process.Pid)
	err := cmd.Wait()
	c := cost{seconds: time.Since(start).Seconds(), written: -1}
	c.peak = peak()
	if ctx.Err() != nil {
		return c, ctx.Err()
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args[:min(3, len(cmd.Args))], " "), err, lastLines(stderr.String(), 8))
	}
	c.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		// A process between two samples: at least its own peak is known.
		c.peak = max(c.peak, float64(usage.Maxrss)/1024)
	}
	unix.Sync()
	if after, ok := writtenTo(dir); ok && known {
		c.written = float64(after-before) / (1 << 20)
	}
	return c, nil
}

// ownGroup keeps the terminal's Ctrl-C from a command: it gets one signal, from
// bench, for a second one would end it without its clean-up.
func ownGroup(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.WaitDelay = time.Minute
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// allocated is how much of the disk a file takes, MiB.
func allocated(file string) (float64, error) {
	info, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("%s: its blocks are not known here", file)
	}
	return float64(st.Blocks) * 512 / (1 << 20), nil
}
