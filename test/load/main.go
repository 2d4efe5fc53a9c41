// Load acts as many machines that start from the network at once: each asks DHCP,
// iPXE's script, the kernel, its order, parts of its image, claims its secrets and
// says that it is ready. It prints how long each step took.
//
// It is for the server alone: no machine boots. The machines are those of
// cluster.yaml; the server must not know them yet, and must be reached over an
// interface that it answers relays on, such as lo of a network namespace.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"imgbuild/cluster"
)

func main() {
	var l load
	flag.StringVar(&l.file, "cluster", "cluster.yaml", "the cluster `FILE`")
	flag.StringVar(&l.server, "server", "", "the server's `ADDRESS`")
	flag.StringVar(&l.iface, "interface", "lo", "the `INTERFACE` that DHCP goes over")
	flag.Int64Var(&l.imageBytes, "image-bytes", 16<<20, "how many `BYTES` of the image each machine asks for; 0 is all")
	flag.Int64Var(&l.ranges, "ranges", 4, "in how many `REQUESTS`")
	flag.IntVar(&l.nodes, "nodes", 0, "how many `MACHINES`, 0 is all")
	flag.DurationVar(&l.limit, "limit", 10*time.Minute, "give up after this `TIME`")
	flag.Parse()
	result, err := l.run(context.Background())
	if err == nil {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// load is one run.
type load struct {
	file, server, iface string
	imageBytes, ranges  int64
	nodes               int
	limit               time.Duration

	mu    sync.Mutex
	times map[string][]time.Duration
	bytes int64
}

// Result is what a run prints. Times are milliseconds.
type Result struct {
	Machines int            `json:"machines"`
	Failed   []string       `json:"failed"`
	Seconds  float64        `json:"seconds"`
	Bytes    int64          `json:"bytes"`
	Steps    map[string]Row `json:"steps"`
}

// Row is one step of all machines.
type Row struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

func (l *load) run(ctx context.Context) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, l.limit)
	defer cancel()
	c, problems := cluster.Load(l.file)
	if err := problems.Err(); err != nil {
		return Result{}, err
	}
	nodes := c.Nodes
	if l.nodes > 0 {
		nodes = nodes[:min(l.nodes, len(nodes))]
	}
	l.times = map[string][]time.Duration{}
	result := Result{Machines: len(nodes), Failed: []string{}, Steps: map[string]Row{}}
	start := time.Now()
	var all sync.WaitGroup
	for _, n := range nodes {
		all.Go(func() {
			m := machine{load: l, node: n}
			if err := m.boot(ctx); err != nil {
				l.mu.Lock()
				result.Failed = append(result.Failed, fmt.Sprintf("%s: %v", n.Name, err))
				l.mu.Unlock()
			}
		})
	}
	all.Wait()
	result.Seconds, result.Bytes = time.Since(start).Seconds(), l.bytes
	for step, times := range l.times {
		slices.Sort(times)
		result.Steps[step] = Row{len(times), at(times, 0.5), at(times, 0.99), at(times, 1)}
	}
	return result, nil
}

// at is a quantile of sorted times, in milliseconds.
func at(times []time.Duration, q float64) float64 {
	i := min(int(q*float64(len(times))), len(times)-1)
	return float64(times[i].Microseconds()) / 1000
}

// step measures one.
func (l *load) step(name string, do func() error) error {
	start := time.Now()
	err := do()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	l.times[name] = append(l.times[name], time.Since(start))
	return nil
}
