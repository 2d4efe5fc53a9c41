package roles

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder"
)

// resolved is the plan of a role of ours.
func resolved(t *testing.T, role string) builder.Plan {
	t.Helper()
	p, err := Source{}.Resolve(small(), role, lockOf(t, Source{}, small(), role), own)
	require.NoError(t, err)
	return p
}

// TestNothingOfKubernetes: none of these roles runs a container.
func TestNothingOfKubernetes(t *testing.T) {
	for role, want := range map[string][]string{
		"lb":   {"ignition", "imgbuild-firstboot", "imgbuild-install"},
		"etcd": {"etcd", "ignition", "imgbuild-firstboot", "imgbuild-install"},
		// registry.kind distribution
		"harbor": {"ignition", "imgbuild-firstboot", "imgbuild-install", "registry"},
	} {
		p := resolved(t, role)
		assert.Empty(t, p.Images, role)
		var components []string
		for _, c := range p.Components {
			components = append(components, c.Name)
		}
		assert.Equal(t, want, components)
		for _, f := range p.Files {
			assert.NotRegexp(t, "kube|containerd|cni", f.Path, role)
		}
		for _, unit := range []string{"etcd.service", "haproxy.service", "keepalived.service", "registry.service"} {
			assert.NotContains(t, p.Enable, unit, "the agent starts it")
		}
	}
}

// units writes what the roles lay below systemd's folder to a directory, with
// programs that are there, and returns the names of the units.
func units(t *testing.T, dir string) []string {
	t.Helper()
	program := regexp.MustCompile(`(?m)^(Exec[A-Za-z]+=[-@:+!]*)/\S+`)
	var names []string
	write := func(name string, data []byte) {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, program.ReplaceAll(data, []byte("${1}/bin/true")), 0o644))
		if !strings.Contains(name, "/") && !slices.Contains(names, file) {
			names = append(names, file)
		}
	}
	for _, role := range []string{"etcd", "harbor", "lb", "master"} {
		for _, f := range resolved(t, role).Files {
			if name, ok := strings.CutPrefix(f.Path, "/usr/lib/systemd/system/"); ok {
				write(name, f.Data)
			}
		}
	}
	for _, packaged := range []string{"haproxy.service", "keepalived.service"} {
		data, err := os.ReadFile("/lib/systemd/system/" + packaged)
		if err != nil && os.Getenv("IMGBUILD_TEST_ROOT") == "" {
			t.Skipf("%v: install the Debian packages haproxy and keepalived", err)
		}
		require.NoError(t, err, "see TEST_PACKAGES in the Makefile")
		write(packaged, data)
	}
	return names
}

// TestSystemdAcceptsTheUnits: our own, and those of packages with our drop-ins.
func TestSystemdAcceptsTheUnits(t *testing.T) {
	dir := t.TempDir()
	names := units(t, dir)
	require.Contains(t, names, filepath.Join(dir, "etcd.service"))
	require.Contains(t, names, filepath.Join(dir, "registry.service"))
	verify := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "systemd-analyze", append([]string{"verify", "--man=no"}, args...)...)
		cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
		out, err := cmd.CombinedOutput()
		var complaints []string
		for line := range strings.Lines(string(out)) {
			// Of our units only; systemd knows these two keys since 254.
			if strings.Contains(line, dir) && !regexp.MustCompile(`Restart(Steps|MaxDelaySec)`).MatchString(line) {
				complaints = append(complaints, line)
			}
		}
		if err != nil {
			complaints = append(complaints, err.Error()+": "+string(out))
		}
		return strings.Join(complaints, "")
	}
	assert.Empty(t, verify(names...))
	bad := filepath.Join(dir, "bad.service")
	require.NoError(t, os.WriteFile(bad, []byte("[Service]\nExecStart=/bin/true\nRestrat=always\n"), 0o644))
	assert.Contains(t, verify(bad), "Restrat")
}
