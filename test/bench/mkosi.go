package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

//go:embed mkosi.sh
var inTree string

// mkosi is the peer: systemd's image builder, in a tree of Debian 13.
type mkosi struct {
	tree, work, version string
	// packages is how many it is told to install.
	packages int
	dir      string
}

// What mkosi's tree needs for an image that boots.
const mkosiPackages = "mkosi,apt,ca-certificates,cpio,cryptsetup-bin,debian-archive-keyring,dosfstools,erofs-utils,fdisk,kmod,mtools," +
	"python3-cryptography,python3-pefile,systemd,systemd-boot,systemd-repart,systemd-ukify,util-linux,zstd"

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// newMkosi makes the tree and mkosi's configuration. Nothing of it is measured.
func newMkosi(ctx context.Context, w *world) (*mkosi, error) {
	m := &mkosi{tree: w.path("mkosi-tree"), work: w.path("mkosi"), dir: w.dir}
	debian, security, err := mirrors(ctx)
	if err != nil {
		return nil, err
	}
	w.say("make a tree with mkosi in it")
	if err := m.makeTree(ctx, debian); err != nil {
		return nil, err
	}
	out, err := m.command(ctx, "mkosi", "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("mkosi --version: %w", err)
	}
	m.version = strings.TrimPrefix(strings.TrimSpace(string(out)), "mkosi ")
	// Without what only the Kubernetes parts want. Ours has the boot loader from
	// the tools tree.
	names := []string{"systemd-boot-efi"}
	for _, p := range w.plan.Packages.Base {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	m.packages = len(names) - 1
	return m, m.configure(w.plan.Base.Suite, debian, security, names)
}

func (m *mkosi) makeTree(ctx context.Context, mirror string) error {
	if err := os.MkdirAll(m.work, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mmdebstrap", "--variant=apt", "--include="+mkosiPackages, "trixie", m.tree, mirror)
	// mmdebstrap cleans up when it is interrupted.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	ownGroup(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("mmdebstrap: %w: %s", err, lastLines(string(out), 5)))
	}
	return nil
}

// configure writes mkosi.conf, and the apt sources that imgbuild uses, too:
// mkosi's own would also fetch lists of sources and debugging symbols.
func (m *mkosi) configure(suite, debian, security string, names []string) error {
	conf := fmt.Sprintf(`[Distribution]
Distribution=debian
Release=%s
Repositories=main

[Output]
Format=disk
ImageId=bench
OutputDirectory=/work/out
RepartDirectories=/work/repart

[Build]
BuildSources=
WorkspaceDirectory=/work/workspace
PackageCacheDirectory=/work/cache
SandboxTrees=/work/sandbox
Environment=INITRD=No

[Content]
Bootable=yes
Bootloader=systemd-boot
UnifiedKernelImages=yes
WithRecommends=no
WithDocs=no
Packages=%s
`, suite, strings.Join(names, ","))
	sources := fmt.Sprintf(`Types: deb
URIs: %s
Suites: %[2]s %[2]s-updates
Components: main
Signed-By: %[3]s

Types: deb
URIs: %[4]s
Suites: %[2]s-security
Components: main
Signed-By: %[3]s
`, debian, suite, keyring, security)
	for name, text := range map[string]string{
		"mkosi.conf": conf,
		"sandbox/etc/apt/sources.list.d/mkosi.sources": sources,
		"sandbox/etc/apt/apt.conf.d/90bench":           "Acquire::Languages \"none\";\n",
		// repart.d(5): our partitions without the second slot and the state.
		"repart/00-esp.conf":         "[Partition]\nType=esp\nFormat=vfat\nCopyFiles=/efi:/\nCopyFiles=/boot:/\nSizeMinBytes=256M\nSizeMaxBytes=256M\n",
		"repart/10-root.conf":        "[Partition]\nType=root\nFormat=erofs\nCopyFiles=/\nVerity=data\nVerityMatchKey=root\nMinimize=best\n",
		"repart/20-root-verity.conf": "[Partition]\nType=root-verity\nVerity=hash\nVerityMatchKey=root\nMinimize=best\n",
	} {
		file := filepath.Join(m.work, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// command runs in the tree. It ends with all its processes.
func (m *mkosi) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "unshare", append([]string{
		"--mount", "--pid", "--fork", "--kill-child", "sh", "-c", inTree, "sh", m.tree, m.work}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	ownGroup(cmd)
	return cmd
}

// image is what build leaves.
func (m *mkosi) image() string { return filepath.Join(m.work, "out/bench.raw") }

// build measures mkosi, with an empty package cache unless cached.
func (m *mkosi) build(ctx context.Context, cached bool) (cost, error) {
	empty := []string{"out", "workspace"}
	if !cached {
		empty = append(empty, "cache")
	}
	for _, name := range empty {
		dir := filepath.Join(m.work, name)
		if err := os.RemoveAll(dir); err != nil {
			return cost{}, err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return cost{}, err
		}
	}
	cmd := m.command(ctx, "mkosi", "build")
	// It tells on stdout why it fails.
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	c, err := measure(ctx, cmd, m.dir)
	if err != nil && ctx.Err() == nil {
		return c, fmt.Errorf("mkosi: %w: %s", err, lastLines(said.String(), 8))
	}
	return c, err
}

// mirrors are where the host's own apt has Debian from.
func mirrors(ctx context.Context) (debian, security string, err error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(CREATED_BY) $(ORIGIN) $(REPO_URI)").Output()
	if err != nil {
		return "", "", fmt.Errorf("apt-get indextargets: %w", err)
	}
	debian, security = parseTargets(string(out))
	if debian == "" || security == "" {
		return "", "", errors.New("this host's apt has no lists of Debian and its security updates: run apt-get update")
	}
	return debian, security, nil
}

// parseTargets finds both archives by the last part of their addresses.
func parseTargets(targets string) (debian, security string) {
	for line := range strings.Lines(targets) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "Packages" || f[1] != "Debian" {
			continue
		}
		address := strings.TrimSuffix(f[2], "/")
		switch address[strings.LastIndex(address, "/")+1:] {
		case "debian":
			debian = address
		case "debian-security":
			security = address
		}
	}
	return debian, security
}
