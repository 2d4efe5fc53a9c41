package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"imgbuild/lab"
)

// report is everything that one run of bench has found.
type report struct {
	Host   string  `json:"host"`
	Tables []table `json:"tables"`
}

// table compares its columns row by row. Units are in the names.
type table struct {
	Title string `json:"title"`
	// Notes say what the figures do not.
	Notes []string `json:"notes,omitempty"`
	// What heads the column of the rows' names.
	What    string   `json:"what"`
	Columns []string `json:"columns"`
	// Ratio heads a last column: the median of the second column by that of the
	// first. Empty means none.
	Ratio string `json:"ratio,omitempty"`
	Rows  []row  `json:"rows"`
}

// row is one thing that was measured, once per run and column.
type row struct {
	Name  string   `json:"name"`
	Cells []sample `json:"cells"`
}

// sample is every value measured of one thing. An empty one could not be.
type sample []float64

// median is the middle value, or the mean of the two.
func (s sample) median() float64 {
	if len(s) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(s))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// String is the median, with the range where there are several values.
func (s sample) String() string {
	switch len(s) {
	case 0:
		return "–"
	case 1:
		return figure(s[0])
	}
	return fmt.Sprintf("%s (%s–%s)", figure(s.median()), figure(slices.Min(s)), figure(slices.Max(s)))
}

// figure shows three digits or so of a value.
func figure(v float64) string {
	digits := 0
	switch {
	case v < 1:
		digits = 2
	case v < 100:
		digits = 1
	}
	return fmt.Sprintf("%.*f", digits, v)
}

func (r report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r report) writeMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on: %s. Medians, with the range of all runs where there were several.\n", r.Host)
	for _, t := range r.Tables {
		b.WriteString("\n" + t.markdown())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t table) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n", t.Title)
	head := append([]string{t.What}, t.Columns...)
	if t.Ratio != "" {
		head = append(head, t.Ratio)
	}
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(head)
	line(append([]string{"---"}, slices.Repeat([]string{"---:"}, len(head)-1)...))
	for _, r := range t.Rows {
		cells := []string{r.Name}
		for _, c := range r.Cells {
			cells = append(cells, c.String())
		}
		if t.Ratio != "" {
			cells = append(cells, ratio(r.Cells))
		}
		line(cells)
	}
	for i, n := range t.Notes {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "- %s\n", n)
	}
	return b.String()
}

func ratio(cells []sample) string {
	if len(cells) < 2 || cells[0].median() == 0 || len(cells[1]) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", cells[1].median()/cells[0].median())
}

// describeHost is what figures depend on most.
func describeHost() string {
	accel := "no KVM (TCG)"
	if lab.KVMUsable() {
		accel = "KVM"
	}
	memory := ""
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int64
		if _, err := fmt.Sscanf(string(data), "MemTotal: %d kB", &kib); err == nil {
			memory = fmt.Sprintf("%d GiB of memory, ", (kib+1<<19)>>20)
		}
	}
	return fmt.Sprintf("%d CPUs, %s%s", runtime.NumCPU(), memory, accel)
}
