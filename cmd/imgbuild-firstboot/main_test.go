package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/firstboot"
)

// call runs a command line on a machine whose files are below root.
func call(t *testing.T, root string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, complaint bytes.Buffer
	host := firstboot.NewHost(&out)
	host.Root, host.Console = root, &complaint
	code = run(t.Context(), args, host, &out, &complaint)
	return code, out.String(), complaint.String()
}

func TestCommandLines(t *testing.T) {
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"--help":         {exitDone, "what systemd starts at every boot"},
		"status --help":  {exitDone, "what it has done in this boot"},
		"":               {exitUsage, "expected a command"},
		"walk":           {exitUsage, `unknown command "walk"`},
		"run fast":       {exitUsage, "run takes no arguments"},
		"tokens now":     {exitUsage, "tokens takes no arguments"},
		"tokens":         {exitFailed, "without an Ignition config"},
		"status now":     {exitUsage, "status takes no arguments"},
		"status -x":      {exitUsage, "-x"},
		"status -o yaml": {exitUsage, "expected text or json"},
		"status":         {exitFailed, "has not run in this boot"},
		"version":        {exitDone, ""},
	} {
		code, stdout, stderr := call(t, t.TempDir(), strings.Fields(line)...)
		assert.Equal(t, want.code, code, line)
		assert.Contains(t, stdout+stderr, want.text, line)
	}
}

func TestStatusAfterAStop(t *testing.T) {
	root := t.TempDir()
	code, stdout, _ := call(t, root, "run")
	assert.Equal(t, exitDone, code, "a restart would stop again")
	assert.Contains(t, stdout, "imgbuild: stop: no identity: ")

	code, stdout, _ = call(t, root, "status")
	assert.Equal(t, exitDone, code)
	assert.Contains(t, stdout, "node unknown, role unknown: stopped\nphase identity: no identity: ")

	code, stdout, _ = call(t, root, "status", "-o", "json")
	assert.Equal(t, exitDone, code)
	kept, err := os.ReadFile(filepath.Join(root, firstboot.StatusPath))
	require.NoError(t, err)
	assert.JSONEq(t, string(kept), stdout)
}

// TestTheAgentStaysSmall: no Kubernetes client, no cloud SDK, nothing of builder.
func TestTheAgentStaysSmall(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{
		"imgbuild/cmd/imgbuild-firstboot",
		"imgbuild/firstboot",
		"imgbuild/cluster/node",
		"imgbuild/console",
		"imgbuild/protocol",
		"sigs.k8s.io/yaml",
		"go.yaml.in/yaml/v2", // of sigs.k8s.io/yaml
		// Harbor's registry knows its password in no other form.
		"golang.org/x/crypto/bcrypt",
		"golang.org/x/crypto/blowfish", // of bcrypt
		// A claim is sealed for the node.
		"filippo.io/age", "filippo.io/age/armor",
		"filippo.io/age/internal/bech32", "filippo.io/age/internal/format", "filippo.io/age/internal/stream",
		// Of age.
		"golang.org/x/crypto/chacha20", "golang.org/x/crypto/chacha20poly1305", "golang.org/x/crypto/curve25519",
		"golang.org/x/crypto/hkdf", "golang.org/x/crypto/internal/alias", "golang.org/x/crypto/internal/poly1305",
		"golang.org/x/crypto/pbkdf2", "golang.org/x/crypto/scrypt", "golang.org/x/sys/cpu",
	}, strings.Fields(string(out)))
}
