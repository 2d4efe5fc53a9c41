// Command imgbuild-firstboot is the agent of a node: systemd starts it at every
// boot, and it makes the node a member of its cluster.
//
// This package only reads the command line and prints; the work is package
// firstboot's.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"imgbuild/firstboot"
)

// Exit codes that scripts may rely on.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

const help = `imgbuild-firstboot makes a node a member of its cluster.

  imgbuild-firstboot run                        what systemd starts at every boot
  imgbuild-firstboot status [-o text|json]      what it has done in this boot and what it waits for
  imgbuild-firstboot tokens                     on a master: renews the tokens of nodes that have not joined
  imgbuild-firstboot version                    print the version

The exit code is 0 when the command did what it says, 1 when it failed, and 2
when the command line is wrong. run also exits with 0 when it has stopped for a
reason that only a person can change: see status.
`

// version is set by the linker.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], firstboot.NewHost(os.Stdout), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, host *firstboot.Host, stdout, stderr io.Writer) int {
	verb := ""
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	switch verb {
	case "run":
		if len(args) > 0 {
			return usage(stderr, "run takes no arguments")
		}
		return report(stderr, firstboot.Run(ctx, host, agentVersion()))
	case "tokens":
		if len(args) > 0 {
			return usage(stderr, "tokens takes no arguments")
		}
		return report(stderr, firstboot.Tokens(ctx, host))
	case "status":
		return status(args, host, stdout, stderr)
	case "version", "--version":
		fmt.Fprintln(stdout, agentVersion())
		return exitDone
	case "help", "-h", "--help":
		fmt.Fprint(stdout, help)
		return exitDone
	case "":
		return usage(stderr, "expected a command")
	}
	return usage(stderr, fmt.Sprintf("unknown command %q", verb))
}

func usage(stderr io.Writer, problem string) int {
	fmt.Fprintf(stderr, "imgbuild-firstboot: %s; see imgbuild-firstboot --help\n", problem)
	return exitUsage
}

func report(stderr io.Writer, err error) int {
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "imgbuild-firstboot: interrupted; the next start carries on")
	default:
		fmt.Fprintf(stderr, "imgbuild-firstboot: %v\n", err)
	}
	return exitFailed
}

func status(args []string, host *firstboot.Host, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("status", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	output := flags.String("o", "text", "text or json")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, help)
		return exitDone
	case err != nil:
		return usage(stderr, "status: "+err.Error())
	case flags.NArg() > 0:
		return usage(stderr, "status takes no arguments")
	case *output != "text" && *output != "json":
		return usage(stderr, "status -o "+*output+": expected text or json")
	}
	s, err := firstboot.ReadStatus(host)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("the agent has not run in this boot: see systemctl status imgbuild-firstboot")
	}
	if err != nil {
		return report(stderr, err)
	}
	if *output == "json" {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		return report(stderr, encoder.Encode(s))
	}
	printStatus(stdout, s)
	return exitDone
}

// printStatus is the status for people.
func printStatus(w io.Writer, s firstboot.Status) {
	fmt.Fprintf(w, "node %s, role %s: %s\n", orUnknown(s.Node), orUnknown(s.Role), s.State)
	if s.WaitingFor != "" {
		fmt.Fprintf(w, "phase %s: %s\n", s.Phase, s.WaitingFor)
	}
	for _, p := range s.Phases {
		state := "done"
		if !p.Done {
			state = s.State
		}
		took := time.Duration(p.Seconds * float64(time.Second)).Round(100 * time.Millisecond)
		fmt.Fprintf(w, "  %-14s %-8s %8s  %d retries\n", p.Name, state, took, p.Retries)
	}
	for _, d := range s.Disks {
		fmt.Fprintf(w, "  disk %-8s %s (%s)\n", d.State, d.Path, d.Detail)
	}
	if s.ServiceTest == nil {
		return
	}
	for _, c := range s.ServiceTest.Checks {
		outcome := "passed"
		if !c.Passed {
			outcome = "failed"
		}
		fmt.Fprintf(w, "  check %-8s %-8s %s\n", c.Name, outcome, c.Detail)
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// agentVersion is the linker's, else that of the module.
func agentVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
