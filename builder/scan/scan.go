// Package scan looks for what no image may hold: private keys, tokens, password
// hashes, and identities such as a machine-id or SSH host keys.
//
// It reads the files of a layer, not the finished image, whose root is
// compressed. It knows forms of secrets, not their values: what looks like
// nothing known is not found.
package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"imgbuild/builder/cache"
)

// version changes whenever the same files may give another result.
const version = 2

// Scanner remembers layers that were found clean.
type Scanner struct{ Cache cache.Cache }

// Layer scans the files below dir. key must change with their content: a layer
// that was clean is not read again. The error names every finding, and no
// secret.
func (s Scanner) Layer(ctx context.Context, dir, key string) error {
	_, _, err := s.Cache.Dir(ctx, "scanned", cache.Key(version, key), func(ctx context.Context, _ string) error {
		return Tree(ctx, dir)
	})
	return err
}

// Tree scans the files below dir, a tree or one layer of it.
func Tree(ctx context.Context, dir string) error {
	var found []error
	// For every file: most are small, and to make one takes longer than to read them.
	buf := make([]byte, 0, block+overlap)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		name := strings.TrimPrefix(p, dir)
		what, err := file(p, name, buf)
		if what != "" {
			found = append(found, fmt.Errorf("%s: %s", name, what))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("scan for secrets: %w", err)
	}
	if len(found) > 0 {
		return fmt.Errorf("the image would hold secrets or identities, which belong into Ignition configs:\n%w", errors.Join(found...))
	}
	return nil
}

// named are files whose very presence is wrong, by pattern of their path.
var named = []struct{ pattern, what string }{
	{"/etc/ssh/ssh_host_*", "an SSH host key: every node makes its own"},
	{"/var/lib/dbus/machine-id", "a machine-id"},
	{"/var/lib/systemd/random-seed", "a random seed"},
	{"/var/lib/systemd/credential.secret", "systemd's credential key"},
	{"/root/.ssh/*", "SSH files of root"},
	{"/home/*/.ssh/*", "SSH files of an account"},
	{"/etc/kubernetes/pki/*", "files of a cluster's PKI"},
	{"/etc/kubernetes/*.conf", "a kubeconfig"},
	{"/etc/imgbuild/node.json", "the identity of a node"},
}

// published are files of packages that hold keys which everyone has: nothing
// is protected by them.
var published = []string{
	// The key pairs of its self-tests, in its source (lib/crypto-selftests-pk.c).
	"/usr/lib/*/libgnutls.so.30*",
}

// file returns what is wrong with one file, or nothing. It reads into buf.
func file(path, name string, buf []byte) (string, error) {
	for _, n := range named {
		if ok, _ := filepath.Match(n.pattern, name); ok {
			return n.what, nil
		}
	}
	for _, pattern := range published {
		if ok, _ := filepath.Match(pattern, name); ok {
			return "", nil
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	switch name {
	case "/etc/machine-id":
		return machineID(f)
	case "/etc/passwd", "/etc/shadow", "/etc/gshadow":
		return passwords(f, name)
	}
	return stream(f, buf)
}

func machineID(r io.Reader) (string, error) {
	data, err := io.ReadAll(r)
	if id := strings.TrimSpace(string(data)); id != "uninitialized" && id != "" {
		return "a machine-id", err
	}
	return "", err
}

// passwords finds an account whose second field is a hash: crypt(5) has them
// start with a dollar sign, or they are the 13 letters of the oldest form. An
// empty field lets everybody in, but in gshadow nobody (passwd(5), gshadow(5)).
func passwords(r io.Reader, name string) (string, error) {
	data, err := io.ReadAll(r)
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Split(line, ":")
		switch {
		case len(f) < 2, name == "/etc/passwd" && f[1] == "x":
		case f[1] == "" && name != "/etc/gshadow":
			return "an account without a password: " + f[0], err
		case strings.Trim(f[1], "!*") != "":
			return "a password hash of " + f[0], err
		}
	}
	return "", err
}

// forms of secrets in any file. A program may hold the words "PRIVATE KEY";
// only what goes on like a key is one. In a string of JSON or YAML a line ends
// with the letters \n, and a quotation mark may have backslashes before it.
var forms = []struct {
	// hints are searched first: that is fast.
	hints []string
	form  *regexp.Regexp
	what  string
}{
	{[]string{"PRIVATE KEY-----"}, regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----` + lineEnd +
		`(?:[A-Za-z-]+: [^\n\\]*` + lineEnd + `)*(?:[A-Za-z0-9+/=\n\r]|\\+[nr]){60,}`), "a private key"},
	{[]string{"AGE-SECRET-KEY-1"}, regexp.MustCompile(`AGE-SECRET-KEY-1[0-9A-Z]{58}`), "an age identity"},
	{[]string{"client-key-data"}, regexp.MustCompile(`client-key-data` + colon + `[A-Za-z0-9+/=]{40}`), "the key of a kubeconfig"},
	{[]string{"token:", `token":`, `token\`}, regexp.MustCompile(`(?:^|[\s"{,])token` + colon + `[a-z0-9]{6}\.[a-z0-9]{16}\b`), "a bootstrap token"},
	{[]string{"$y$"}, regexp.MustCompile(`:\$y\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}`), "a password hash"},
	{[]string{"$6$"}, regexp.MustCompile(`:\$6\$(?:rounds=\d+\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}`), "a password hash"},
}

const (
	lineEnd = `(?:\s|\\+[nr]?)*`
	colon   = `\\*"?\s*:\s*\\*"?`
)

// Blocks overlap, so that no secret hides on the border of two.
const (
	block   = 4 << 20
	overlap = 8 << 10
)

func stream(r io.Reader, buf []byte) (string, error) {
	buf = buf[:0]
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		for _, f := range forms {
			hinted := slices.ContainsFunc(f.hints, func(hint string) bool { return bytes.Contains(buf, []byte(hint)) })
			if hinted && f.form.Match(buf) {
				return f.what, nil
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		keep := copy(buf, buf[len(buf)-overlap:])
		buf = buf[:keep]
	}
}
