package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// every is how often memory is looked at.
const every = 100 * time.Millisecond

// watchMemory samples a process and all below it until the returned function
// is called, which gives the peak in MiB.
func watchMemory(pid int) func() float64 {
	stop, peak := make(chan struct{}), make(chan float64)
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		most := memoryOf(pid)
		for {
			select {
			case <-stop:
				peak <- most
				return
			case <-tick.C:
				most = max(most, memoryOf(pid))
			}
		}
	}()
	return func() float64 {
		close(stop)
		return <-peak
	}
}

// memoryOf is the sum of the proportional set sizes (PSS: what is shared counts
// once) of a process and all below it, MiB. Those that end meanwhile are not
// counted.
func memoryOf(pid int) float64 {
	var kib int64
	for todo := []int{pid}; len(todo) > 0; {
		p := todo[0]
		todo = append(todo[1:], childrenOf(p)...)
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		if err == nil {
			kib += parsePSS(data)
		}
	}
	return float64(kib) / 1024
}

// childrenOf reads the children of every thread of a process. To look at all of
// /proc instead takes a noticeable part of a processor.
func childrenOf(pid int) []int {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	var list []int
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(word); err == nil {
				list = append(list, child)
			}
		}
	}
	return list
}

// parsePSS finds the line "Pss: N kB" of smaps_rollup.
func parsePSS(data []byte) int64 {
	s := bufio.NewScanner(bytes.NewReader(data))
	for s.Scan() {
		if f := strings.Fields(s.Text()); len(f) > 1 && f[0] == "Pss:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib
		}
	}
	return 0
}

// writtenTo is how many bytes the disk of a directory has been written to since
// the machine started. It is everybody's writes: nothing else may run.
func writtenTo(dir string) (int64, bool) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, false
	}
	data, err := os.ReadFile("/proc/diskstats")
	if err != nil {
		return 0, false
	}
	return parseDiskstats(string(data), unix.Major(st.Dev), unix.Minor(st.Dev))
}

// parseDiskstats finds the sectors written, 512 bytes each: field 10 of the
// line of a device (Documentation/admin-guide/iostats.rst of the kernel).
func parseDiskstats(text string, major, minor uint32) (int64, bool) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 10 || f[0] != fmt.Sprint(major) || f[1] != fmt.Sprint(minor) {
			continue
		}
		sectors, err := strconv.ParseInt(f[9], 10, 64)
		return sectors * 512, err == nil
	}
	return 0, false
}
