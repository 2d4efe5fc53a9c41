package lab

import (
	"strconv"
	"strings"
	"time"
)

// Files in a machine's directory, which is QEMU's working directory: the paths
// on its command line are short and a socket's path has no more than 107 bytes.
const (
	diskFile    = "disk.qcow2"
	varsFile    = "vars.fd"
	qmpFile     = "qmp.sock"
	consoleFile = "console.log"
	// logFile is what QEMU itself and the supervisor complain of.
	logFile = "qemu.log"
)

// ignitionFD is where the supervisor leaves the Ignition config for QEMU.
const ignitionFD = 3

// hardware is all that the command line of a machine depends on.
type hardware struct {
	Lab  string
	Node Node
	KVM  bool
	// Netdev is QEMU's -netdev without its id.
	Netdev string
	// Now is the host's time, of which the machine's is Node.Clock ahead.
	Now time.Time
}

// argv is the command line of a machine's QEMU.
//
// A guest's reboot is a reboot, so there is no -no-reboot. The disk's cache
// mode stays writeback: with unsafe, a power cut would lose QEMU's own tables
// and with them what the guest has synced.
func argv(h hardware) []string {
	// Page tables of five levels and a second set of translations for the kernel's
	// access to user memory are work for an emulator, and protect nothing here.
	accel, cpu := []string{"-accel", "tcg,thread=multi"}, "max,-la57,-smap"
	if h.KVM {
		accel, cpu = []string{"-accel", "kvm"}, "host"
		if h.Node.Clock != 0 {
			// Linux would ask KVM, which tells the host's time.
			cpu += ",kvmclock=off"
		}
	}
	disk, nic := bootOrder(h.Node.NetBoot)
	flash, rom := firmware(h.Node.NetBoot)
	args := []string{
		qemu, "-name", title(h.Lab, h.Node.Name),
		// No secure boot, hence no SMM, which is slow to emulate.
		"-machine", "q35,smm=off",
	}
	args = append(args, accel...)
	args = append(args,
		"-cpu", cpu,
		"-smp", strconv.Itoa(h.Node.CPUs),
		"-m", strconv.FormatInt(h.Node.MemoryMiB, 10)+"M",
		"-nodefaults", "-no-user-config", "-display", "none",
		// The supervisor reads the other end of standard output.
		"-chardev", "file,id=console,path=/dev/stdout", "-serial", "chardev:console",
		"-qmp", "unix:"+qmpFile+",server=on,wait=off",
	)
	args = append(args, flash...)
	args = append(args,
		"-drive", "if=none,id=disk,format=qcow2,discard=unmap,file="+diskFile,
		"-device", "virtio-blk-pci,drive=disk"+disk,
		"-netdev", h.Netdev+",id=net",
		"-device", "virtio-net-pci,netdev=net,mac="+h.Node.MAC+rom+nic,
		"-device", "virtio-rng-pci",
		// systemd's EFI stub appends it to the UKI's own command line.
		"-smbios", "type=11,value=io.systemd.stub.kernel-cmdline-extra="+escape(kernelArguments(h.KVM)),
	)
	for i, d := range h.Node.Raw {
		id := "raw" + strconv.Itoa(i)
		args = append(args,
			"-drive", "if=none,id="+id+",format=raw,discard=unmap,file="+rawFile(d.Serial),
			"-device", "virtio-blk-pci,drive="+id+",serial="+d.Serial)
	}
	if h.Node.Clock != 0 {
		args = append(args, "-rtc", "base="+h.Now.Add(h.Node.Clock).UTC().Format("2006-01-02T15:04:05"))
	}
	if len(h.Node.Ignition) > 0 {
		args = append(args, "-fw_cfg", "name=opt/com.coreos/config,file=/proc/self/fd/"+strconv.Itoa(ignitionFD))
	}
	return args
}

// kernelArguments are those that only a machine of the lab has. An emulated
// processor has none of the flaws that the mitigations are for, and takes
// seconds to compile the program that systemd would attach to the security
// module bpf: lsm lists Debian's others. Its time-stamp counter is the host's:
// compared with a slower clock on a busy host it would be found wrong because of
// the host's pauses, and that clock is read through the emulator's lock.
func kernelArguments(kvm bool) string {
	if kvm {
		return "console=ttyS0"
	}
	return "console=ttyS0 mitigations=off tsc=reliable lsm=landlock,lockdown,yama,loadpin,safesetid,integrity,apparmor"
}

// escape doubles commas, which separate the options of one of QEMU's arguments.
func escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// title is what a machine's QEMU calls itself; it makes the process
// recognisable as ours.
func title(lab, node string) string { return "imgbuild/" + lab + "/" + node }
