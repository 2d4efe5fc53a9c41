package firstboot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// console writes the agent's lines, each in one write, to the journal and to
// the machine's console. Scripts and the lab rely on their form.
type console struct {
	mu      sync.Mutex
	journal io.Writer
	device  io.Writer
	uptime  func() float64
}

// say writes one line. A console that cannot be written to is no reason to
// stop: the journal has the line too.
func (c *console) say(format string, args ...any) {
	line := "imgbuild: " + oneLine(fmt.Sprintf(format, args...)) + "\n"
	c.mu.Lock()
	defer c.mu.Unlock()
	io.WriteString(c.journal, line)
	io.WriteString(c.device, line)
}

// milestone says what has happened and at which uptime.
func (c *console) milestone(what string) float64 {
	up := c.uptime()
	c.say("%s (up %.1fs)", what, up)
	return up
}

// log writes a line of another program to the journal only.
func (c *console) log(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	io.WriteString(c.journal, line+"\n")
}

// oneLine keeps control characters of other programs off the console.
func oneLine(s string) string {
	clean := []rune(s)
	for i, r := range clean {
		if r < ' ' || r == 0x7f {
			clean[i] = ' '
		}
	}
	return string(clean)
}

// consoles are all consoles of the kernel: /dev/console is only the last of
// them, and who stands before the machine may look at another. Each is opened
// for each line: they may change while the agent runs, and none must become its
// controlling terminal.
type consoles struct{ root string }

// Write fails only where no console took the line.
func (c consoles) Write(line []byte) (int, error) {
	active, err := os.ReadFile(filepath.Join(c.root, "/sys/class/tty/console/active"))
	names := strings.Fields(string(active))
	if err != nil || len(names) == 0 {
		names = []string{"console"}
	}
	var failed error
	written := false
	for _, name := range names {
		if err := writeDevice(filepath.Join(c.root, "/dev", name), line); err != nil {
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
