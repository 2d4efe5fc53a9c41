package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress tells on stderr how far a long piece of work is: a bar that is drawn
// anew on a terminal, one line per step elsewhere. What is written through it
// goes above the bar.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	bar   bool
	line  string
	start time.Time
}

func newProgress(out io.Writer) *progress {
	f, ok := out.(*os.File)
	return &progress{out: out, bar: ok && term.IsTerminal(int(f.Fd())), start: time.Now()}
}

// step announces step n of a piece of work.
func (p *progress) step(n, of int, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := time.Since(p.start).Round(time.Second)
	if !p.bar {
		fmt.Fprintf(p.out, "[%2d/%d] %s (+%s)\n", n, of, name, since)
		return
	}
	const width = 30
	full := width * (n - 1) / of
	p.line = fmt.Sprintf("[%s%s] %2d/%d %s (+%s)", strings.Repeat("#", full), strings.Repeat("-", width-full), n, of, name, since)
	fmt.Fprintf(p.out, "\r\033[K%s", p.line)
}

// Write writes above the bar.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line != "" {
		fmt.Fprint(p.out, "\r\033[K")
		defer func() { fmt.Fprint(p.out, p.line) }()
	}
	return p.out.Write(b)
}

// end removes the bar.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line != "" {
		fmt.Fprint(p.out, "\r\033[K")
		p.line = ""
	}
}
