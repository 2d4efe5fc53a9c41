package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Kubectl is one run of kubectl inside the lab's network.
type Kubectl struct {
	// Path of the program.
	Path string
	Args []string
	// Kubeconfig holds a key and never becomes a file.
	Kubeconfig     []byte
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Reachable says why the host cannot reach the lab's machines.
func (l *Lab) Reachable() error {
	n := l.network()
	switch {
	case !n.root:
		return errors.New("the lab's machines are reached by root only: without it they are connected with each other, and the host is no part of their network")
	case !n.exists():
		return fmt.Errorf("the lab %s is not up: start it with imgbuild lab up", l.Name)
	}
	return nil
}

// Kubectl runs it.
func (l *Lab) Kubectl(ctx context.Context, k Kubectl) error {
	if err := l.Reachable(); err != nil {
		return err
	}
	config, err := memoryFile("kubeconfig", k.Kubeconfig)
	if err != nil {
		return err
	}
	defer config.Close()
	argv := l.network().enter(append([]string{k.Path}, k.Args...))
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = k.Stdin, k.Stdout, k.Stderr
	cmd.ExtraFiles = []*os.File{config}
	cmd.Env = append(withoutProxy(os.Environ()),
		"KUBECONFIG=/proc/self/fd/3",
		"KUBECACHEDIR="+filepath.Join(l.Dir, kubectlDir))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kubectl: %w", err)
	}
	return nil
}

// withoutProxy leaves out the variables that would send kubectl to a proxy,
// none of which is in the lab's network.
func withoutProxy(env []string) []string {
	var kept []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			kept = append(kept, e)
		}
	}
	return kept
}
