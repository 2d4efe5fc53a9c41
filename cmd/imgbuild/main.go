// Command imgbuild builds bootable, immutable OS images for the machines of a
// highly available Kubernetes cluster, and what those machines need to form it.
//
// This package only reads flags, calls the packages that do the work and
// prints their results. It holds no logic of its own: one file per verb.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
