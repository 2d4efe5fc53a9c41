package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

const (
	qemu         = "qemu-system-x86_64"
	firmwareCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	firmwareVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// need is something the lab uses of its host, and Debian's package of it.
type need struct {
	what, apt string
	// root: only where the lab has a network namespace.
	root bool
}

func needs() []need {
	return []need{
		{what: qemu, apt: "qemu-system-x86"},
		{what: "qemu-img", apt: "qemu-utils"},
		{what: firmwareCode, apt: "ovmf"},
		{what: firmwareVars, apt: "ovmf"},
		{what: "ip", apt: "iproute2", root: true},
		{what: "nsenter", apt: "util-linux", root: true},
	}
}

// CheckHost says what the host lacks, all in one error.
func CheckHost() error {
	return checkHost(os.Geteuid() == 0, func(what string) bool {
		if strings.HasPrefix(what, "/") {
			_, err := os.Stat(what)
			return err == nil
		}
		_, err := exec.LookPath(what)
		return err == nil
	})
}

func checkHost(root bool, has func(string) bool) error {
	var missing, packages []string
	for _, n := range needs() {
		if n.root && !root || has(n.what) {
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
	return fmt.Errorf("the lab needs %s: apt-get install %s", strings.Join(missing, ", "), strings.Join(packages, " "))
}

// KVMUsable tells whether QEMU can use the processor itself.
func KVMUsable() bool {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	return err == nil && virtualises(cpuinfo)
}

// virtualises tells whether the processor has Intel's or AMD's extension.
// There are kernels with a /dev/kvm that does without, but it boots nothing
// but kernels made for it: no firmware.
func virtualises(cpuinfo []byte) bool {
	for line := range bytes.Lines(cpuinfo) {
		if name, flags, _ := strings.Cut(string(line), ":"); strings.TrimSpace(name) == "flags" {
			fields := strings.Fields(flags)
			return slices.Contains(fields, "vmx") || slices.Contains(fields, "svm")
		}
	}
	return false
}

// EmulatorFault says what is wrong with the host's QEMU where it has to emulate
// several processors, or nothing. Before 8.1 it may translate code that another
// processor is just changing, and the kernel panics of an int3 that it does not
// know (QEMU's commit deba78709a).
func EmulatorFault(ctx context.Context) string {
	if KVMUsable() {
		return ""
	}
	out, err := exec.CommandContext(ctx, qemu, "--version").Output()
	if err != nil {
		return "" // CheckHost tells what is missing
	}
	return emulatorFault(string(out))
}

func emulatorFault(said string) string {
	var major, minor int
	if _, err := fmt.Sscanf(said, "QEMU emulator version %d.%d", &major, &minor); err != nil || major > 8 || major == 8 && minor >= 1 {
		return ""
	}
	return fmt.Sprintf("QEMU %d.%d may stop emulated machines of several CPUs with a kernel panic (int3), which 8.1 mends: use a newer one, or cpus: 1 where a role can do with it", major, minor)
}
