package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Lines of console.log that are the supervisor's, not the machine's.
const (
	markOn  = "=== power on "
	markOff = "=== power off: "
)

// maxLine cuts a machine's endless line into several.
const maxLine = 4096

// recordConsole writes what a machine says to its log, line by line, each with
// the seconds since it got its power. It ends with the machine.
func recordConsole(w io.Writer, r io.Reader, power time.Time) error {
	if _, err := fmt.Fprintf(w, "%s%s\n", markOn, power.UTC().Format(time.RFC3339)); err != nil {
		return drain(r, err)
	}
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if text := clean(string(line)); text != "" {
			if _, err := fmt.Fprintf(w, "[%8.3f] %s\n", time.Since(power).Seconds(), text); err != nil {
				return drain(r, err)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// drain keeps reading: a full disk of the host must not halt the machine in
// the middle of a line.
func drain(r io.Reader, err error) error {
	_, _ = io.Copy(io.Discard, r)
	return err
}

// ansi are the terminal's control sequences: CSI, OSC, character sets and the
// short ones (ECMA-48).
var ansi = regexp.MustCompile(`\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]+[0-~]|[0-~])`)

// clean is a line without control sequences and control characters: a
// machine must not be able to steer the reader's terminal.
func clean(line string) string {
	line = ansi.ReplaceAllString(line, "")
	line = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(line, "�"))
	return strings.TrimRight(line, " ")
}

// split takes a line of console.log apart.
func split(line string) (seconds float64, text string, ok bool) {
	stamp, text, ok := strings.Cut(strings.TrimPrefix(line, "["), "] ")
	if !ok || !strings.HasPrefix(line, "[") {
		return 0, "", false
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(stamp), 64)
	if err != nil || !(seconds >= 0 && seconds < 1e9) {
		return 0, "", false
	}
	return seconds, text, true
}
