// Package console writes to who stands before a machine: to all consoles that the
// kernel uses, since /dev/console is only the last of them.
package console

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Devices are the kernel's consoles. Each is opened for each line: they may change
// while a program runs, and none must become its controlling terminal.
type Devices struct {
	// Root is prepended to every path: "/" on a machine.
	Root string
}

// Write fails only where no console took the line.
func (d Devices) Write(line []byte) (int, error) {
	active, err := os.ReadFile(filepath.Join(d.Root, "/sys/class/tty/console/active"))
	names := strings.Fields(string(active))
	if err != nil || len(names) == 0 {
		names = []string{"console"}
	}
	var failed error
	written := false
	for _, name := range names {
		if err := writeDevice(filepath.Join(d.Root, "/dev", name), line); err != nil {
			failed = err
			continue
		}
		written = true
	}
	if !written {
		return 0, failed
	}
	return len(line), nil
}

func writeDevice(path string, line []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|syscall.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Close())
}

// OneLine keeps control characters of other programs off the console.
func OneLine(s string) string {
	clean := []rune(s)
	for i, r := range clean {
		if r < ' ' || r == 0x7f {
			clean[i] = ' '
		}
	}
	return string(clean)
}
