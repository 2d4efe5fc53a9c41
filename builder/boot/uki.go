package boot

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"imgbuild/builder/sandbox"
)

// UKI is one unified kernel image, as the UAPI group's specification of that
// name has it: a PE program that holds kernel, initramfs and command line.
type UKI struct {
	Kernel    Kernel
	Initramfs string
	// Cmdline holds the root hash: whoever trusts the UKI trusts the root.
	Cmdline []string
	// OSRelease is the host path of the image's os-release.
	OSRelease string
}

// Make writes the UKI to the file out with ukify and systemd's stub from the
// tools tree, given as its layers.
func (u UKI) Make(ctx context.Context, tools []string, out string, epoch int64, log io.Writer) error {
	dir := filepath.Dir(out)
	err := sandbox.Run(ctx, sandbox.Spec{
		Layers: tools,
		Mounts: []sandbox.Mount{
			{From: []string{u.Kernel.Image}, To: "/mnt/kernel", ReadOnly: true},
			{From: []string{u.Initramfs}, To: "/mnt/initramfs", ReadOnly: true},
			{From: []string{u.OSRelease}, To: "/mnt/os-release", ReadOnly: true},
			{From: []string{dir}, To: "/mnt/out"},
		},
		Env: []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", epoch)},
		Argv: []string{
			"ukify", "build", "--linux=/mnt/kernel", "--initrd=/mnt/initramfs",
			"--os-release=@/mnt/os-release", "--uname=" + u.Kernel.Release,
			"--cmdline=" + strings.Join(u.Cmdline, " "),
			"--stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub",
			"--output=/mnt/out/" + filepath.Base(out),
		},
		Stdout: log, Stderr: log,
	})
	if err != nil {
		return fmt.Errorf("make UKI %s: %w", filepath.Base(out), err)
	}
	return nil
}

// LoaderPackage is the package of the tools tree that has systemd-boot and its
// stub: the ESP holds copies of both.
const LoaderPackage = "systemd-boot-efi"

// Loader is systemd-boot's host path in the tools tree, and its configuration.
func Loader(tools []string) string {
	return filepath.Join(tools[0], "usr/lib/systemd/boot/efi/systemd-bootx64.efi")
}

// LoaderConf starts the newest slot at once. Keys: loader.conf(5).
const LoaderConf = "timeout 0\neditor no\nauto-firmware no\n"
