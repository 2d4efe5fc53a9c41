package cluster

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Duration is a time span in Go's format: 90s, 10m, 1h30m.
type Duration time.Duration

// UnmarshalYAML reads a Duration; zero and negative spans are refused.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil || v <= 0 {
		return fmt.Errorf("line %d: %q is not a duration, expected for example 10m or 90s", n.Line, n.Value)
	}
	*d = Duration(v)
	return nil
}

// MarshalYAML writes the form that UnmarshalYAML reads.
func (d Duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }

// Bytes is a size in bytes, written as 512MiB, 4GiB, 1TiB or 20G (decimal).
type Bytes int64

// units are the accepted suffixes, longest first so that MiB is not read as B.
var units = []struct {
	suffix string
	factor int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"", 1},
}

// ParseBytes reads a size; it must be positive and fit into 63 bits.
func ParseBytes(s string) (Bytes, error) {
	for _, u := range units {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || v <= 0 || v > (1<<63-1)/u.factor {
			break
		}
		return Bytes(v * u.factor), nil
	}
	return 0, fmt.Errorf("%q is not a size, expected for example 512MiB or 20GiB", s)
}

// UnmarshalYAML reads a size.
func (b *Bytes) UnmarshalYAML(n *yaml.Node) error {
	v, err := ParseBytes(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	*b = v
	return nil
}

// MarshalYAML writes the largest binary unit that divides the size.
func (b Bytes) MarshalYAML() (any, error) {
	for _, u := range []int{3, 2, 1, 0} {
		if int64(b)%units[u].factor == 0 {
			return strconv.FormatInt(int64(b)/units[u].factor, 10) + units[u].suffix, nil
		}
	}
	return strconv.FormatInt(int64(b), 10), nil
}
