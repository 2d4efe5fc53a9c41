package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"imgbuild/lab"
)

// watchLab shows the status until every node is Ready or ctx ends: a table in
// its place on a terminal, lines elsewhere.
func watchLab(ctx context.Context, a *app, l *lab.Lab, nodes []lab.Node) error {
	show := (&changes{w: a.Stdout, now: time.Now}).show
	if f, ok := a.Stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		show = (&screen{w: f, size: func() (int, int) { return terminalSize(f) }}).show
	}
	_, err := l.Watch(ctx, nodes, show)
	return err
}

// terminalSize is that of a VT100 where the terminal does not say, as on a
// serial line.
func terminalSize(f *os.File) (width, height int) {
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// screen shows the table on a terminal, each time over the last one.
type screen struct {
	w    io.Writer
	size func() (width, height int)
	// drawn is how many lines the last table has.
	drawn int
}

func (s *screen) show(status lab.Status) error {
	var table bytes.Buffer
	if err := writeLabStatus(&table, status); err != nil {
		return err
	}
	return s.draw(table.String())
}

// draw writes a text over the last one.
func (s *screen) draw(text string) error {
	width, height := s.size()
	lines := fit(strings.Split(strings.TrimSuffix(text, "\n"), "\n"), width, height)
	var out strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&out, "\x1b[%dA\x1b[J", s.drawn)
	}
	for _, line := range lines {
		out.WriteString(line + "\n")
	}
	s.drawn = len(lines)
	_, err := io.WriteString(s.w, out.String())
	return err
}

// fit cuts lines to what a terminal can show: one that wraps or scrolls would
// not be drawn over the next time. The last line belongs to the cursor.
func fit(lines []string, width, height int) []string {
	if most := max(height-1, 1); len(lines) > most {
		rest := len(lines) - most + 1
		lines = append(lines[:most-1:most-1], fmt.Sprintf("… and %d lines more", rest))
	}
	for i, line := range lines {
		if letters := []rune(line); len(letters) > width {
			lines[i] = string(letters[:max(width-1, 0)]) + "…"
		}
	}
	return lines
}

// changes shows one line for each node of which something has changed.
type changes struct {
	w    io.Writer
	now  func() time.Time
	said map[string]string
}

func (c *changes) show(status lab.Status) error {
	if c.said == nil {
		c.said = map[string]string{}
	}
	for _, n := range status.Nodes {
		text := describeNode(n)
		if c.said[n.Name] == text {
			continue
		}
		c.said[n.Name] = text
		if _, err := fmt.Fprintf(c.w, "%s  %s  %s  %s\n", c.now().UTC().Format(time.TimeOnly), n.Name, n.Role, text); err != nil {
			return err
		}
	}
	return nil
}

// describeNode is what a node is doing, in a few words.
func describeNode(n lab.NodeStatus) string {
	switch {
	case n.Power == "off":
		return "off"
	case n.Stopped != "":
		return "stopped: " + n.Stopped
	case n.WaitingFor != "":
		return n.Phase + ", waiting for: " + n.WaitingFor
	}
	return n.Phase
}
