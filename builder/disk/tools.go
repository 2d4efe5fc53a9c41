package disk

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"

	"imgbuild/builder/sandbox"
)

// Tools runs the programs that make and check file systems, from a tools tree
// and never from the host, so that the host's versions do not matter.
type Tools struct {
	// Layers of the tools tree, lowest first.
	Layers []string
	// Epoch is the one time in what is made, seconds since 1970.
	Epoch int64
	// Output gets what the programs print; nil drops it.
	Output io.Writer
}

// run executes one program with the directory dir as /mnt/out, and gives its
// standard output.
func (t Tools) run(ctx context.Context, dir string, mounts []sandbox.Mount, argv ...string) (string, error) {
	var stdout bytes.Buffer
	err := sandbox.Run(ctx, sandbox.Spec{
		Layers: t.Layers,
		Mounts: append([]sandbox.Mount{{From: []string{dir}, To: "/mnt/out"}}, mounts...),
		Env: []string{
			fmt.Sprintf("SOURCE_DATE_EPOCH=%d", t.Epoch),
			// mtools refuses what it takes for odd geometry otherwise (mtools.conf).
			"MTOOLS_SKIP_CHECK=1",
		},
		Argv: argv, Stdout: &stdout, Stderr: t.Output,
	})
	return stdout.String(), err
}

// inside is the path of a file of the directory that run mounts.
func inside(path string) string { return "/mnt/out/" + filepath.Base(path) }
