package cluster

import (
	"fmt"
	"strings"
)

// Severity says whether a problem makes a file invalid.
type Severity string

// The severities of a problem.
const (
	// SeverityError makes the file invalid.
	SeverityError Severity = "error"
	// SeverityWarning is advice; the file stays valid.
	SeverityWarning Severity = "warning"
)

// Problem is one thing that is wrong, or unwise, in a cluster.yaml.
type Problem struct {
	// File is the path as it was given to Load.
	File string `json:"file"`
	// Line counts from 1; 0 where the problem has no line, such as a missing file.
	Line int `json:"line"`
	// Field is the path of the field, such as nodes[2].address; empty for the
	// whole file.
	Field string `json:"field"`
	// Message says what is wrong and what was expected.
	Message  string   `json:"message"`
	Severity Severity `json:"-"`
}

// String is the problem in one line, in the form that editors jump to:
// FILE:LINE: FIELD: MESSAGE.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems are what Load found, in the order of the file.
type Problems []Problem

// Errors are the problems that make the file invalid; never nil.
func (ps Problems) Errors() Problems { return ps.of(SeverityError) }

// Warnings are the problems that do not; never nil.
func (ps Problems) Warnings() Problems { return ps.of(SeverityWarning) }

func (ps Problems) of(s Severity) Problems {
	list := Problems{}
	for _, p := range ps {
		if p.Severity == s {
			list = append(list, p)
		}
	}
	return list
}

// Err is nil where there are only warnings, else an *InvalidError.
func (ps Problems) Err() error {
	if errs := ps.Errors(); len(errs) > 0 {
		return &InvalidError{Problems: errs}
	}
	return nil
}

// InvalidError lists everything that makes a file invalid.
type InvalidError struct{ Problems Problems }

// Error has one line per problem; where there is more than one, a line with
// their number comes first.
func (e *InvalidError) Error() string {
	if len(e.Problems) == 1 {
		return e.Problems[0].String()
	}
	lines := []string{fmt.Sprintf("%d problems:", len(e.Problems))}
	for _, p := range e.Problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}
