package sandbox

import (
	"context"
	"os/exec"
	"syscall"
	"time"
)

// Command is a program of the host, outside of any sandbox. When ctx ends it is
// killed with what it has started, and it does not outlive imgbuild. The Ctrl-C
// of a terminal does not reach it: ctx decides.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
