package firstboot

import (
	"fmt"
	"io"
	"sync"

	consoles "imgbuild/console"
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
	line := "imgbuild: " + consoles.OneLine(fmt.Sprintf(format, args...)) + "\n"
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
