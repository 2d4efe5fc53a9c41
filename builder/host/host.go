// Package host says what the machine that builds lacks, before anything is done.
package host

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// need is a program or file that is used of the host, and Debian's package of
// it. Everything else comes from the tools tree.
type need struct{ what, apt string }

// forLock resolves packages.
func forLock() []need {
	return []need{
		{"go", "golang-go"}, {"apt-get", "apt"}, {"apt-cache", "apt"},
		{"/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"},
	}
}

// forBuild fetches and unpacks packages, and makes sandboxes.
func forBuild() []need {
	return []need{
		{"go", "golang-go"}, {"apt-get", "apt"}, {"/usr/lib/apt/apt-helper", "apt"}, {"dpkg-deb", "dpkg"},
		{"unshare", "util-linux"}, {"mount", "mount"},
	}
}

// CheckLock says what resolving packages lacks, all in one error.
func CheckLock() error { return check(forLock(), has) }

// CheckBuild says what building an image lacks, all in one error.
func CheckBuild() error { return check(forBuild(), has) }

func has(what string) bool {
	if strings.HasPrefix(what, "/") {
		_, err := os.Stat(what)
		return err == nil
	}
	_, err := exec.LookPath(what)
	return err == nil
}

func check(needs []need, has func(string) bool) error {
	var missing, packages []string
	for _, n := range needs {
		if has(n.what) {
			continue
		}
		missing = append(missing, n.what)
		if !slices.Contains(packages, n.apt) {
			packages = append(packages, n.apt)
		}
	}
	if missing == nil {
		return nil
	}
	hint := ""
	if slices.Contains(missing, "go") {
		hint = " (where that is older than Go 1.26: https://go.dev/dl)"
	}
	return fmt.Errorf("this machine lacks %s: apt-get install %s%s", strings.Join(missing, ", "), strings.Join(packages, " "), hint)
}
