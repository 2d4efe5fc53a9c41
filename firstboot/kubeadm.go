package firstboot

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// token is the form of a bootstrap token. kubeadm is told not to print any;
// this is for the day when a message does.
var token = regexp.MustCompile(`\b[a-z0-9]{6}\.[a-z0-9]{16}\b`)

// kubeadm runs it to its end. Its output goes to the journal line by line, and
// the time between two of its [tags] to the console.
func (m *machine) kubeadm(ctx context.Context, args ...string) error {
	if err := m.writePatches(); err != nil {
		return err
	}
	steps := &kubeadmSteps{console: m.console, now: m.host.Now}
	var complaint bytes.Buffer
	stdout := &lineWriter{line: steps.line}
	stderr := &lineWriter{line: func(s string) {
		s = token.ReplaceAllString(s, "<token>")
		m.console.log("kubeadm: " + s)
		complaint.WriteString(s + "\n")
	}}
	err := m.host.Execute(ctx, Command{Name: "kubeadm", Args: args, Stdout: stdout, Stderr: stderr})
	stdout.end()
	stderr.end()
	if err != nil {
		return fmt.Errorf("kubeadm %s: %w%s", args[0], err, tail(complaint.String()))
	}
	steps.end()
	return nil
}

// kubeadmSteps turns kubeadm's lines, "[certs] Generating …", into one line per tag.
type kubeadmSteps struct {
	console *console
	now     func() time.Time
	tag     string
	since   time.Time
}

func (k *kubeadmSteps) line(s string) {
	k.console.log("kubeadm: " + token.ReplaceAllString(s, "<token>"))
	tag, _, found := strings.Cut(strings.TrimPrefix(s, "["), "]")
	if !found || !strings.HasPrefix(s, "[") || tag == k.tag || strings.ContainsAny(tag, " \t") {
		return
	}
	k.end()
	k.tag, k.since = tag, k.now()
}

// end says how long the current step took.
func (k *kubeadmSteps) end() {
	if k.tag != "" {
		k.console.say("kubeadm %s (%.1fs)", k.tag, k.now().Sub(k.since).Seconds())
	}
	k.tag = ""
}

// lineWriter calls line for every line that is written to it.
type lineWriter struct {
	line func(string)
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		w.line(strings.TrimRight(string(w.rest[:i]), "\r"))
		w.rest = w.rest[i+1:]
	}
}

// end passes on a last line without a line feed.
func (w *lineWriter) end() {
	if len(w.rest) > 0 {
		w.line(string(w.rest))
	}
	w.rest = nil
}
