package cluster

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a span of time, written as Go does: "90s", "10m", "1h30m".
type Duration time.Duration

// String is the duration as cluster.yaml writes it: "10m", not "10m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText writes the form that UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText refuses a number without a unit.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("expected a duration such as 90s, 10m or 1h30m, got %q", text)
	}
	*d = Duration(v)
	return nil
}

// Bytes is an amount of memory or disk. It is written as a whole or decimal
// number and a unit as GNU's tools read them: K, M, G, T and KiB, MiB, GiB, TiB
// are powers of 1024; KB, MB, GB, TB are powers of 1000; no unit is bytes.
type Bytes int64

// The units that code needs.
const (
	MiB Bytes = 1 << 20
	GiB Bytes = 1 << 30
	TiB Bytes = 1 << 40
)

// unit returns how many bytes one of the named unit is.
func unit(name string) (int64, bool) {
	powers := map[byte]int{'K': 1, 'M': 2, 'G': 3, 'T': 4}
	if name == "" || name == "B" {
		return 1, true
	}
	power, ok := powers[name[0]]
	if !ok {
		return 0, false
	}
	switch name[1:] {
	case "", "iB", "i":
		return 1 << (10 * power), true
	case "B":
		return int64(math.Pow10(3 * power)), true
	}
	return 0, false
}

// String is exact: the largest unit that divides the amount.
func (b Bytes) String() string {
	for _, name := range []string{"TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "KB"} {
		size, _ := unit(name)
		if b != 0 && int64(b)%size == 0 {
			return fmt.Sprintf("%d%s", int64(b)/size, name)
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText writes the form that UnmarshalText reads.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText refuses negative amounts and amounts above 2^63-1 bytes.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	end := strings.LastIndexAny(s, "0123456789.") + 1
	bad := fmt.Errorf("expected an amount such as 512MiB, 4GiB or 1TB, got %q", text)
	size, ok := unit(strings.TrimSpace(s[end:]))
	if !ok || end == 0 {
		return bad
	}
	// Whole numbers stay exact; a float would round amounts above 2^53.
	if n, err := strconv.ParseInt(s[:end], 10, 64); err == nil {
		if n < 0 || n > math.MaxInt64/size {
			return bad
		}
		*b = Bytes(n * size)
		return nil
	}
	if strings.ContainsAny(s[:end], "eExX_+-") {
		return bad
	}
	f, err := strconv.ParseFloat(s[:end], 64)
	if err != nil || f*float64(size) >= math.MaxInt64 {
		return bad
	}
	*b = Bytes(f * float64(size))
	return nil
}
