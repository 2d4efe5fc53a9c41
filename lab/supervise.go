package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// spec is what a supervisor reads from its standard input.
type spec struct {
	Argv []string
	// Ignition is in no file and on no command line.
	Ignition []byte
	// TimeAt is where the machines of the lab may ask for the time, if anywhere.
	TimeAt string `json:",omitempty"`
}

// answerOn is what a supervisor writes once QEMU runs; anything else is the
// reason why it does not.
const answerOn = "on\n"

// Supervise runs the machine of that directory until its power is off. It is
// the body of the process that Lab.Supervisor starts. When ctx ends, so does
// the machine.
func Supervise(ctx context.Context, dir string, stdin io.Reader, stdout io.Writer) error {
	// QEMU is to die with this process, which the kernel takes to be this thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := supervise(ctx, dir, stdin, stdout)
	if err != nil {
		// The answer is one line; nobody reads it once the machine was on.
		_, _ = fmt.Fprintln(stdout, string(bytes.ReplaceAll([]byte(err.Error()), []byte("\n"), []byte("; "))))
	}
	return err
}

func supervise(ctx context.Context, dir string, stdin io.Reader, stdout io.Writer) error {
	var s spec
	if err := json.NewDecoder(stdin).Decode(&s); err != nil {
		return fmt.Errorf("read the machine's description: %w", err)
	}
	if len(s.Argv) == 0 {
		return errors.New("the machine's description has no command line")
	}
	if err := writePID(dir, supervisorPID, os.Getpid()); err != nil {
		return err
	}
	defer os.Remove(filepath.Join(dir, supervisorPID))

	log, err := os.OpenFile(filepath.Join(dir, consoleFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()

	cmd, err := command(ctx, dir, s)
	if err != nil {
		write.Close()
		return err
	}
	cmd.Stdout = write
	err = cmd.Start()
	power := time.Now()
	write.Close()
	closeAll(cmd.ExtraFiles)
	if err != nil {
		return fmt.Errorf("start QEMU: %w", err)
	}
	defer startClock(ctx, s.TimeAt)()
	console := make(chan error, 1)
	alive, dead := context.WithCancelCause(ctx)
	go func() {
		console <- recordConsole(log, read, power)
		dead(errors.New("it has ended"))
	}()
	answered := answer(alive, dir, cmd.Process.Pid, stdout)
	if answered != nil {
		_ = cmd.Process.Kill()
	}
	recorded := <-console
	ended := cmd.Wait()
	for _, file := range []string{qmpFile, qemuPID} {
		os.Remove(filepath.Join(dir, file))
	}
	if answered != nil {
		return fmt.Errorf("%s (%w)", tail(filepath.Join(dir, logFile)), answered)
	}
	fmt.Fprintf(log, "%s%s\n", markOff, how(ended, filepath.Join(dir, logFile)))
	return recorded
}

// command is QEMU with the Ignition config in a file that exists in memory only.
func command(ctx context.Context, dir string, s spec) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, s.Argv[0], s.Argv[1:]...)
	cmd.Dir = dir
	cmd.Env = environment(os.Environ())
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if len(s.Ignition) == 0 {
		return cmd, nil
	}
	f, err := memoryFile("ignition", s.Ignition)
	if err != nil {
		return nil, err
	}
	// The first extra file is number 3: ignitionFD.
	cmd.ExtraFiles = []*os.File{f}
	return cmd, nil
}

// environment lets QEMU keep its tables in huge pages: an emulator looks up in tens
// of MiB of them where the guest's next instructions are (glibc, "Memory Allocation
// Tunables").
func environment(own []string) []string {
	const tunables = "GLIBC_TUNABLES="
	if slices.ContainsFunc(own, func(v string) bool { return strings.HasPrefix(v, tunables) }) {
		return own
	}
	return append(own, tunables+"glibc.malloc.hugetlb=1")
}

// memoryFile is an anonymous file that never reaches a disk.
func memoryFile(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory file %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(data); err != nil {
		f.Close()
		return nil, fmt.Errorf("memory file %s: %w", name, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, fmt.Errorf("memory file %s: %w", name, err)
	}
	return f, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// answer tells whoever started the machine that it is on.
func answer(ctx context.Context, dir string, pid int, stdout io.Writer) error {
	if err := writePID(dir, qemuPID, pid); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("no answer in 60 s"))
	defer cancel()
	running, err := qmpRunning(ctx, pid)
	if err != nil {
		return err
	}
	if !running {
		return errors.New("the machine does not run")
	}
	_, _ = io.WriteString(stdout, answerOn)
	return nil
}

func writePID(dir, file string, pid int) error {
	return writeFile(filepath.Join(dir, file), []byte(strconv.Itoa(pid)+"\n"))
}

// how says in a few words how QEMU ended. It reports success, too, when it is
// asked to end by a signal, but not silently.
func how(err error, log string) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
		return "the power was cut"
	}
	if text, _ := os.ReadFile(log); err == nil && len(text) == 0 {
		return "the machine switched itself off"
	}
	return "QEMU ended: " + tail(log)
}
