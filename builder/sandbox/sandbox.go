// Package sandbox runs one command in a tree of its own: a chroot with binds
// and overlays in a private mount and process namespace.
//
// Every mount lives in that namespace, so nothing can be left mounted and no
// process left running, however the command or imgbuild itself ends. It uses
// nothing that a user namespace could not do: no loop devices, no mounts of
// images.
package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Spec is one command and the tree it sees.
type Spec struct {
	// Layers are directories that make up the root, lowest first. Without
	// Upper the root is read-only.
	Layers []string
	// Upper takes what the command writes to the root; Work must be an empty
	// directory on the same file system. Both must exist.
	Upper, Work string
	// InPlace lets the command change the only layer itself.
	InPlace bool
	// Mounts are made below the root, in order. /mnt is an empty tmpfs in
	// which mount points are made on demand; other mount points must exist.
	Mounts []Mount
	// Network keeps the host's network; otherwise there is none.
	Network bool
	// Env is the whole environment; PATH and HOME have defaults.
	Env []string
	// Dir is the working directory inside; default "/".
	Dir            string
	Argv           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Mount is a bind of one host path, or an overlay of several.
type Mount struct {
	// From are host paths: one is bound, several are overlaid read-only, lowest first.
	From []string
	// Inside has the only path of From be one inside, of an earlier mount.
	Inside bool
	// To is the path inside.
	To       string
	ReadOnly bool
}

// root is what every sandbox mounts its tree on, in its own namespace. It stays:
// one of its own for each would be left behind by an imgbuild that is killed.
const root = "/run/imgbuild/root"

// Run executes the command. On failure the error holds the program's name and
// the end of what it wrote to standard error.
func Run(ctx context.Context, s Spec) error {
	if len(s.Argv) == 0 || len(s.Layers) == 0 {
		return errors.New("sandbox: no command or no root")
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}

	args := []string{"--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--propagation", "private"}
	if !s.Network {
		args = append(args, "--net")
	}
	dir := s.Dir
	if dir == "" {
		dir = "/"
	}
	args = append(args, "--", "/bin/sh", "-ec", script(s), "sh", root, dir)
	args = append(args, s.Argv...)
	return execute(ctx, s, args)
}

func execute(ctx context.Context, s Spec, args []string) error {
	// Killing unshare kills its child, the namespace's first process, and with
	// it everything inside.
	cmd := Command(ctx, "unshare", args...)
	cmd.Env = append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LC_ALL=C.UTF-8", "TZ=UTC",
	}, s.Env...)
	tail := &Tail{Max: 2000}
	cmd.Stdin, cmd.Stdout = s.Stdin, s.Stdout
	cmd.Stderr = io.Writer(tail)
	if s.Stderr != nil {
		cmd.Stderr = io.MultiWriter(tail, s.Stderr)
	}
	if s.Stdout == nil {
		cmd.Stdout = s.Stderr
	}
	err := cmd.Run()
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", s.Argv[0], ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(short(s.Argv), " "), err, tail.String())
	}
	return nil
}

// script mounts everything and becomes the command. Its arguments are the
// mount point of the root, the working directory and the command.
func script(s Spec) string {
	var b strings.Builder
	p := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	switch {
	case s.Upper != "":
		p("mount -t overlay overlay -o %s %s", quote("lowerdir="+lower(s.Layers)+",upperdir="+s.Upper+",workdir="+s.Work), quote(root))
	case len(s.Layers) > 1:
		p("mount -t overlay overlay -o %s %s", quote("lowerdir="+lower(s.Layers)), quote(root))
	default:
		p("mount --bind %s %s", quote(s.Layers[0]), quote(root))
	}
	for _, d := range []string{"proc", "sys", "dev", "tmp", "run", "mnt"} {
		if s.InPlace || s.Upper != "" {
			p("mkdir -p %s/%s", root, d)
		}
	}
	if !s.InPlace && s.Upper == "" {
		p("mount -o remount,bind,ro %s", quote(root))
	}
	p("mount -t proc proc %s/proc", root)
	p("mount -t sysfs -o ro sysfs %s/sys 2>/dev/null || mount --rbind /sys %s/sys", root, root)
	p("mount -t tmpfs -o mode=755 tmpfs %s/dev", root)
	p("for d in null zero full random urandom tty; do : > %s/dev/$d; mount --bind /dev/$d %s/dev/$d; done", root, root)
	p("mkdir %s/dev/shm %s/dev/pts", root, root)
	p("ln -s /proc/self/fd %s/dev/fd; ln -s fd/0 %s/dev/stdin; ln -s fd/1 %s/dev/stdout; ln -s fd/2 %s/dev/stderr", root, root, root, root)
	for _, d := range []string{"tmp", "run", "mnt"} {
		p("mount -t tmpfs -o mode=1777 tmpfs %s/%s", root, d)
	}
	for _, m := range s.Mounts {
		to := filepath.Join(root, m.To)
		src := m.From[0]
		if m.Inside {
			src = filepath.Join(root, src)
		}
		if strings.HasPrefix(m.To, "/mnt/") || strings.HasPrefix(m.To, "/run/") || strings.HasPrefix(m.To, "/tmp/") {
			p("if [ -d %s ]; then mkdir -p %s; else mkdir -p %s; : > %s; fi", quote(src), quote(to), quote(filepath.Dir(to)), quote(to))
		}
		if len(m.From) > 1 {
			p("mount -t overlay overlay -o %s %s", quote("lowerdir="+lower(m.From)), quote(to))
			continue
		}
		p("mount --bind %s %s", quote(src), quote(to))
		if m.ReadOnly {
			p("mount -o remount,bind,ro %s", quote(to))
		}
	}
	p(`root=$1 dir=$2; shift 2`)
	p(`exec chroot "$root" /usr/bin/env -C "$dir" -- "$@"`)
	return b.String()
}

// lower gives overlayfs's order: topmost first.
func lower(layers []string) string {
	rev := make([]string, len(layers))
	for i, l := range layers {
		rev[len(layers)-1-i] = l
	}
	return strings.Join(rev, ":")
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func short(argv []string) []string {
	if len(argv) > 4 {
		return append(append([]string{}, argv[:4]...), "…")
	}
	return argv
}

// Tail keeps the end of what is written to it, for an error message.
type Tail struct {
	// Max is how many bytes it keeps.
	Max int
	buf bytes.Buffer
}

// Write never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if over := t.buf.Len() - t.Max; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

// String is what was kept, without white space around it.
func (t *Tail) String() string { return strings.TrimSpace(t.buf.String()) }
