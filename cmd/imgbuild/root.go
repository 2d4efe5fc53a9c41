package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"imgbuild/cluster"
)

// Exit codes that scripts may rely on.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// app is what every verb shares: the streams, the global flags and the logger.
// It exists only after the flags are parsed, so a verb reads it in RunE.
type app struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	// clusterFile is the cluster.yaml that the verb works on.
	clusterFile string
	// cacheDir keeps what may be made again.
	cacheDir  string
	verbose   bool
	logFormat string
	log       *slog.Logger
}

// Groups of commands, by what the user wants to do.
const (
	groupDescribe = "describe"
	groupBuild    = "build"
	groupRun      = "run"
)

// commands lists every verb, in the order of the help text. A new verb is a
// file of its own and one line here.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newInitCmd(a),
		newValidateCmd(a),
		newSchemaCmd(a),
		newLockCmd(a),
		newRoleCmd(a),
		newInspectCmd(a),
		newSecretsCmd(a),
		newIgnitionCmd(a),
		newTokenCmd(a),
		newSeedCmd(a),
		newRookCmd(a),
		newServeCmd(a),
		newStatusCmd(a),
		newReinstallCmd(a),
		newReissueCmd(a),
		newLabCmd(a),
	}
}

// usageError is a mistake in what the user gave us: flags, arguments or an
// invalid file. The process then exits with 2 instead of 1.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// run executes one command line and returns the exit code. SIGINT and SIGTERM
// cancel the context, so that a verb can clean up; a second signal kills.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Give the default behaviour back once the first signal has arrived: an
	// impatient second Ctrl-C ends the process even if a clean-up hangs.
	context.AfterFunc(ctx, stop)

	root := newRootCmd(&app{Stdin: stdin, Stdout: stdout, Stderr: stderr})
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return exitCode(stderr, root.ExecuteContext(ctx))
}

// exitCode prints err, if any, and says how the process ends.
func exitCode(stderr io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(stderr, "imgbuild: %v\n", err)
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}

func newRootCmd(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "imgbuild",
		Short: "Build the machine images of a Kubernetes cluster",
		Long: `imgbuild turns one file, cluster.yaml, into bootable disk images and one small
Ignition config per machine. Power a machine on with its image and its config
and it becomes a member of the cluster by itself: nobody logs in and nothing is
installed after boot.

Start with a file that is known to be good, and check it after every change:

  imgbuild init --topology single > cluster.yaml
  imgbuild validate

The exit code is 0 when the command did what it says, 1 when it failed, and 2
when the command line or cluster.yaml is wrong.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return a.setUp()
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})

	flags := root.PersistentFlags()
	flags.StringVarP(&a.clusterFile, "cluster", "c", "cluster.yaml", "the cluster `FILE`")
	flags.StringVar(&a.cacheDir, "cache", "", "cache `DIR` (default $IMGBUILD_CACHE, else /var/cache/imgbuild for root, else $XDG_CACHE_HOME/imgbuild)")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "log what is done, not only its result")
	flags.StringVar(&a.logFormat, "log-format", "text", "format of log lines on stderr: `text|json`")

	root.AddGroup(
		&cobra.Group{ID: groupDescribe, Title: "Describe a cluster:"},
		&cobra.Group{ID: groupBuild, Title: "Build its images and configs:"},
		&cobra.Group{ID: groupRun, Title: "Run it:"},
	)
	for _, cmd := range commands(a) {
		cmd.Args = usageArgs(cmd.Args)
		root.AddCommand(cmd)
	}
	return root
}

// setUp checks the global flags and makes what is derived from them.
func (a *app) setUp() error {
	log, err := a.logTo(a.Stderr)
	if err != nil {
		return err
	}
	a.log = log
	dir := a.cacheDir
	if dir == "" {
		if dir, err = defaultCacheDir(os.Getenv, os.Geteuid()); err != nil {
			return err
		}
	}
	// Programs that are given it have working directories of their own.
	a.cacheDir, err = filepath.Abs(dir)
	return err
}

// logTo makes a logger of the global flags that writes to w.
func (a *app) logTo(w io.Writer) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if a.verbose {
		options.Level = slog.LevelDebug
	}
	switch a.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, usageError{fmt.Errorf("--log-format %s: expected text or json", a.logFormat)}
}

// defaultCacheDir is the cache's place where --cache does not say: the
// environment's, the system's for root, else the user's own.
func defaultCacheDir(getenv func(string) string, uid int) (string, error) {
	if dir := getenv("IMGBUILD_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if uid == 0 {
		return "/var/cache/imgbuild", nil
	}
	// https://specifications.freedesktop.org/basedir-spec: a relative
	// $XDG_CACHE_HOME is invalid and to be ignored.
	if dir := getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "imgbuild"), nil
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".cache", "imgbuild"), nil
	}
	return "", usageError{errors.New("no place for the cache: set --cache, IMGBUILD_CACHE or HOME")}
}

// loadCluster reads --cluster. Warnings go to stderr; errors come back all in
// one error, and make the process exit with 2.
func (a *app) loadCluster(checks ...cluster.Check) (*cluster.Cluster, error) {
	c, problems := cluster.Load(a.clusterFile, checks...)
	for _, w := range problems.Warnings() {
		fmt.Fprintf(a.Stderr, "warning: %s\n", w)
	}
	if err := problems.Err(); err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// unknownCommand refuses a verb that does not exist. Cobra calls it for the
// root only when no verb matched.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "see imgbuild --help"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError{fmt.Errorf("unknown command %q: %s", args[0], hint)}
}

// usageArgs makes a wrong number of arguments a usage error, whichever of
// cobra's checks a verb uses.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		return nil
	}
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%s: %w; see %s --help", cmd.CommandPath(), err, cmd.CommandPath())}
		}
		return nil
	}
}
