package roles

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/components"
	"imgbuild/builder/rootfs"
	"imgbuild/cluster"
)

// unitsOf are the units that roles enable and packages bring, by package.
var unitsOf = map[string]string{
	"chrony.service":           "chrony",
	"haproxy.service":          "haproxy",
	"keepalived.service":       "keepalived",
	"ssh.service":              "openssh-server",
	"systemd-networkd.service": "systemd",
	"systemd-resolved.service": "systemd-resolved",
}

// TestEveryRole loads every role of ours with every pod network, and with
// balancers on the masters.
func TestEveryRole(t *testing.T) {
	names, err := Source{}.Names()
	require.NoError(t, err)
	require.Contains(t, names, "master")
	for _, name := range names {
		for _, with := range []string{"flannel", "none", "balancers"} {
			t.Run(name+" with "+with, func(t *testing.T) {
				cl := small()
				if with == "balancers" {
					cl.LoadBalancer = cluster.LoadBalancer{Mode: cluster.LBKeepalived, CoLocated: true}
				} else {
					cl.Kubernetes.CNI = with
				}
				p, err := Source{}.Resolve(cl, name, lockOf(t, Source{}, cl, name), own)
				require.NoError(t, err)
				r, err := Source{}.load(name, cl)
				require.NoError(t, err)
				assert.NotEmpty(t, r.Description)
				b, err := Source{}.base("debian-13")
				require.NoError(t, err)
				pkgs := slices.Concat(b.Packages.Base, r.Packages["apt"])
				for _, unit := range p.Enable {
					assert.True(t, hasUnit(p.Files, pkgs, unit), "%s is enabled, but nothing brings it", unit)
					assert.NotContains(t, p.Mask, unit, "enabled and masked")
				}
				for _, f := range p.Files {
					if unit, ok := strings.CutSuffix(path.Base(path.Dir(f.Path)), ".service.d"); ok {
						assert.True(t, hasUnit(p.Files, pkgs, unit+".service"), "%s changes a unit that nothing brings", f.Path)
					}
				}
				checkPrograms(t, p.Files)
				checkFrom(t, slices.Concat(p.Files, p.BootFiles))
			})
		}
	}
}

func hasUnit(files []rootfs.File, pkgs []string, unit string) bool {
	return slices.Contains(pkgs, unitsOf[unit]) ||
		slices.ContainsFunc(files, func(f rootfs.File) bool { return f.Path == "/usr/lib/systemd/system/"+unit })
}

// packaged are programs that our units start and packages of the base bring.
var packaged = []string{"/bin/kill", "/usr/bin/ssh-keygen", "/usr/sbin/haproxy", "/usr/sbin/keepalived", "/usr/sbin/sshd"}

var execLine = regexp.MustCompile(`(?m)^Exec[A-Za-z]+=[-@:+!]*(/\S+)`)

// checkPrograms finds what our units start among the image's files.
func checkPrograms(t *testing.T, files []rootfs.File) {
	t.Helper()
	for _, f := range files {
		if !strings.HasPrefix(f.Path, "/usr/lib/systemd/system/") {
			continue
		}
		for _, m := range execLine.FindAllSubmatch(f.Data, -1) {
			program := string(m[1])
			if slices.Contains(packaged, program) {
				continue
			}
			started := fileOf(t, files, program)
			assert.True(t, started.From != "" || started.Mode == 0o755, "%s starts %s", f.Path, program)
		}
	}
}

// checkFrom finds every file that comes from a component among its programs.
func checkFrom(t *testing.T, files []rootfs.File) {
	t.Helper()
	for _, f := range files {
		name, program, found := strings.Cut(f.From, "/bin/")
		if !found {
			continue
		}
		spec, err := components.Find(name)
		require.NoError(t, err, f.Path)
		assert.Contains(t, spec.Outputs(), program, f.Path)
	}
}
