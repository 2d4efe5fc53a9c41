package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"imgbuild/protocol"
)

// Machine is the machine that is installed: every effect but HTTP goes through it.
type Machine interface {
	// Network gives the interface its address, and waits until it is there.
	Network(ctx context.Context, a Args) error
	// Disks are those that the machine has now.
	Disks(ctx context.Context) ([]Disk, error)
	// Open opens a disk that nobody uses.
	Open(d Disk) (Device, error)
	// Holds names what is on a disk, for people.
	Holds(ctx context.Context, d Disk) string
	// Restart starts the machine again.
	Restart() error
}

// Device is an open disk.
type Device interface {
	target
	// PutConfig leaves the machine's Ignition config on the state partition.
	PutConfig(p protocol.Partition, config []byte) error
	// Close ends the use of the disk.
	Close() error
}

// initramfs is the real machine.
type initramfs struct{}

// Here is the machine that the program runs on.
func Here() Machine { return initramfs{} }

func (initramfs) Network(ctx context.Context, a Args) error {
	// Drivers are loaded as udev finds what they are for.
	if _, err := run(ctx, "udevadm", "settle", "--timeout=30"); err != nil {
		return err
	}
	name, err := interfaceOf(a.MAC)
	if err != nil {
		return err
	}
	commands := [][]string{
		{"link", "set", "dev", name, "up"},
		{"address", "replace", a.Address.String(), "dev", name},
	}
	if a.Gateway.IsValid() {
		commands = append(commands, []string{"route", "replace", "default", "via", a.Gateway.String()})
	}
	for _, args := range commands {
		if _, err := run(ctx, "ip", args...); err != nil {
			return err
		}
	}
	return nil
}

// interfaceOf is the Ethernet interface with a MAC.
func interfaceOf(mac string) (string, error) {
	files, err := filepath.Glob("/sys/class/net/*/address")
	if err != nil {
		return "", err
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err == nil && strings.TrimSpace(string(data)) == mac {
			return filepath.Base(filepath.Dir(file)), nil
		}
	}
	return "", fmt.Errorf("waiting for a network interface with the MAC %s: is its driver in the initramfs?", mac)
}

// Disks reads sysfs and udev's database. What is no disk of its own is left out.
func (initramfs) Disks(ctx context.Context) ([]Disk, error) {
	if _, err := run(ctx, "udevadm", "settle", "--timeout=30"); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/sys/block")
	if err != nil {
		return nil, err
	}
	var disks []Disk
	for _, e := range entries {
		dir := filepath.Join("/sys/block", e.Name())
		// Loop devices, device mapper, RAID and RAM disks have no device below them.
		if _, err := os.Stat(filepath.Join(dir, "device")); err != nil {
			continue
		}
		d := Disk{
			Path: "/dev/" + e.Name(), Size: number(dir, "size") * sector, SectorSize: number(dir, "queue/logical_block_size"),
			ReadOnly: number(dir, "ro") == 1, Removable: number(dir, "removable") == 1,
		}
		if d.Size == 0 {
			continue // A drive without a medium.
		}
		properties, err := run(ctx, "udevadm", "info", "--query=property", "--name="+d.Path)
		if err != nil {
			return nil, err
		}
		d.Serial, d.Links = udev(properties)
		disks = append(disks, d)
	}
	return disks, nil
}

// udev is the serial number and the links in udev's properties of a disk.
func udev(properties string) (serial string, links []string) {
	values := map[string]string{}
	for line := range strings.Lines(properties) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = value
	}
	serial = values["ID_SERIAL_SHORT"]
	if serial == "" {
		serial = values["ID_SERIAL"]
	}
	return serial, strings.Fields(values["DEVLINKS"])
}

func number(dir, file string) int64 {
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (initramfs) Open(d Disk) (Device, error) {
	// O_EXCL on a block device: nobody has it mounted or is part of it. It is not kept:
	// the state partition is to be mounted.
	f, err := os.OpenFile(d.Path, os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, refusal{d.String() + " is in use"}
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return nil, err
	}
	if f, err = os.OpenFile(d.Path, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	return &blockDevice{f}, nil
}

// Holds asks blkid, which knows more than we do.
func (initramfs) Holds(ctx context.Context, d Disk) string {
	out, err := run(ctx, "blkid", "-p", "-o", "export", d.Path)
	if err != nil {
		return "something that blkid does not know"
	}
	values := map[string]string{}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = value
	}
	what := values["TYPE"]
	if what == "" {
		what = "a partition table (" + values["PTTYPE"] + ")"
	}
	if label := values["LABEL"]; label != "" {
		what += " (" + label + ")"
	}
	return what
}

func (initramfs) Restart() error {
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// blockDevice is a disk of the kernel's.
type blockDevice struct{ *os.File }

// Zero lets the disk do it, where it can; else the kernel writes.
func (b *blockDevice) Zero(at, length int64) error {
	stretch := [2]uint64{uint64(at), uint64(length)}
	//nolint:gosec // linux/fs.h: the argument is a pointer to two numbers.
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, b.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&stretch))); errno != 0 {
		return fmt.Errorf("zero %d bytes at %d: %w", length, at, errno)
	}
	return nil
}

// PutConfig mounts the state partition, which no table names yet: the kernel is
// told where it is. So the config is there before the disk can be started from.
func (b *blockDevice) PutConfig(p protocol.Partition, config []byte) (err error) {
	part := unix.BlkpgPartition{Start: p.Start, Length: p.Size, Pno: int32(p.Number)}
	if err := b.partition(unix.BLKPG_ADD_PARTITION, &part); err != nil {
		return fmt.Errorf("show the kernel the state partition: %w", err)
	}
	defer func() { err = errors.Join(err, b.partition(unix.BLKPG_DEL_PARTITION, &part)) }()
	top := "/run/imgbuild/target"
	if err := os.MkdirAll(top, 0o700); err != nil {
		return err
	}
	device := partitionPath(b.Name(), p.Number)
	if err := unix.Mount(device, top, "ext4", unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("mount %s: %w", device, err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(top, 0)) }()
	return putFile(filepath.Join(top, ConfigFile), config)
}

// ConfigFile is where the initramfs of the installed machine finds its Ignition
// config on state.
const ConfigFile = "ignition.ign"

func putFile(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func (b *blockDevice) partition(op int32, p *unix.BlkpgPartition) error {
	arg := unix.BlkpgIoctlArg{Op: op, Datalen: int32(unsafe.Sizeof(*p)), Data: (*byte)(unsafe.Pointer(p))}
	//nolint:gosec // linux/blkpg.h
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, b.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		return errno
	}
	return nil
}

// Forget makes the kernel forget the partitions of the table that was there.
func (b *blockDevice) Forget() error { return unix.IoctlSetInt(int(b.Fd()), unix.BLKRRPART, 0) }

// partitionPath is the kernel's name of a partition.
func partitionPath(disk string, number int) string {
	if last := disk[len(disk)-1]; last >= '0' && last <= '9' {
		disk += "p"
	}
	return disk + strconv.Itoa(number)
}

// run executes a tool of the initramfs; its error holds what it complained of.
func run(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
