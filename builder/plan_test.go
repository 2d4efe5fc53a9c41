package builder

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/boot"
	"imgbuild/builder/components"
	"imgbuild/builder/disk"
	"imgbuild/builder/images"
	"imgbuild/builder/packages"
	"imgbuild/builder/rootfs"
)

// example is a plan with some of everything.
func example() Plan {
	debian := packages.Source{Name: "debian-13", Family: "apt", Suite: "trixie", Components: []string{"main"}}
	pkg := func(name string) []packages.Package {
		return []packages.Package{{Name: name, Version: "1.0", Arch: "amd64", File: "pool/" + name, Archive: "debian", SHA256: "sum of " + name, Size: 1}}
	}
	return Plan{
		Version: 1, Role: "master", Epoch: 1_700_006_400, Arch: "amd64", Base: debian, Tools: debian,
		Packages:   Packages{Base: pkg("base"), Role: pkg("role"), Boot: pkg("boot"), Tools: pkg("tools"), Compiler: pkg("compiler")},
		Components: []components.Component{{Name: "etcd", Version: "v3.6.8", Source: components.SourceModules, Go: "go1.26.0", Inputs: "etcd-inputs"}},
		Images:     []images.Image{{Ref: "registry.k8s.io/pause:3.10.2", Inputs: "pause-inputs"}},
		Files:      []rootfs.File{{Path: "/etc/file", Mode: 0o644, Data: []byte("text\n")}, {Path: "/etc/link", Link: "file"}},
		Enable:     []string{"containerd.service"}, Mask: []string{"getty.target"},
		Initramfs: boot.Initramfs{Modules: []string{"imgbuild"}, Omit: []string{"lvm"}},
		BootFiles: []rootfs.File{{Path: "/usr/lib/dracut/modules.d/x", From: "ignition/x"}},
		Cmdline:   []string{"ro"}, Disk: disk.Layout{ESP: 256, Root: 1024, Verity: 32, State: 1024},
	}
}

// TestPlanHash pins the hash of a plan: images are found again by it. Where
// this changes on purpose, everybody's images are built anew.
func TestPlanHash(t *testing.T) {
	p := example()
	assert.Equal(t, "0f9a403c059d22fb57cfa1ed2a08b0500e7f62426e7d70d8c7098c499be9ff97", p.Hash())

	text, err := json.Marshal(p)
	require.NoError(t, err)
	var back Plan
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, p.Hash(), back.Hash(), "a plan that was printed is the same plan")
}

// TestPlanHashSeesEverything changes one thing at a time.
func TestPlanHashSeesEverything(t *testing.T) {
	seen := map[string]string{example().Hash(): "nothing"}
	for name, change := range map[string]func(*Plan){
		"version":    func(p *Plan) { p.Version++ },
		"role":       func(p *Plan) { p.Role = "worker" },
		"epoch":      func(p *Plan) { p.Epoch++ },
		"arch":       func(p *Plan) { p.Arch = "arm64" },
		"mirror":     func(p *Plan) { p.Base.Mirror = "http://mirror.example.com" },
		"base":       func(p *Plan) { p.Packages.Base[0].SHA256 = "other" },
		"tools":      func(p *Plan) { p.Packages.Tools[0].SHA256 = "other" },
		"compiler":   func(p *Plan) { p.Packages.Compiler[0].SHA256 = "other" },
		"boot":       func(p *Plan) { p.Packages.Boot[0].SHA256 = "other" },
		"component":  func(p *Plan) { p.Components[0].Inputs = "other" },
		"image":      func(p *Plan) { p.Images[0].Inputs = "other" },
		"content":    func(p *Plan) { p.Files[0].Data = []byte("other\n") },
		"mode":       func(p *Plan) { p.Files[0].Mode = 0o600 },
		"link":       func(p *Plan) { p.Files[1].Link = "other" },
		"enable":     func(p *Plan) { p.Enable = nil },
		"mask":       func(p *Plan) { p.Mask = append(p.Mask, "other.service") },
		"initramfs":  func(p *Plan) { p.Initramfs.Drivers = []string{"virtio_net"} },
		"boot files": func(p *Plan) { p.BootFiles = nil },
		"cmdline":    func(p *Plan) { p.Cmdline = []string{"rw"} },
		"disk":       func(p *Plan) { p.Disk.State++ },
	} {
		p := example()
		change(&p)
		assert.Empty(t, seen[p.Hash()], "%s and %s give the same hash", name, seen[p.Hash()])
		seen[p.Hash()] = name
	}
}

// TestInputs: what holds C depends on the compiler's packages, the rest
// does not.
func TestInputs(t *testing.T) {
	list := []components.Component{
		{Name: "etcd", Source: components.SourceModules, Inputs: "etcd-inputs"},
		{Name: "pause", Source: components.SourceModules, Inputs: "pause-inputs"},
		{Name: "imgbuild-firstboot", Source: SourceSelf, Inputs: "agent-inputs"},
	}
	with, err := Inputs(list, []packages.Package{{SHA256: "gcc-14"}})
	require.NoError(t, err)
	other, err := Inputs(list, []packages.Package{{SHA256: "gcc-15"}})
	require.NoError(t, err)
	assert.Equal(t, "etcd-inputs", with["etcd"])
	assert.Equal(t, "agent-inputs", with["imgbuild-firstboot"])
	assert.Equal(t, with["etcd"], other["etcd"])
	assert.NotEqual(t, with["pause"], other["pause"])

	_, err = Inputs([]components.Component{{Name: "nothing"}}, nil)
	assert.ErrorContains(t, err, "component nothing: there is none of this name")
}
