package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// leftovers are what installing packages leaves behind and an image must not
// hold: identities, logs, caches, and what differs from run to run.
var leftovers = []string{
	"boot/initrd.img*", "boot/System.map*",
	"vmlinuz*", "initrd.img*",
	"etc/hostname", "etc/resolv.conf", "etc/.pwd.lock",
	"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-",
	"etc/ssh/ssh_host_*", "etc/apt",
	"root/.*rc", "root/.profile",
	"run/*", "tmp/*", "mnt/*",
	"usr/share/doc/*/[^c]*", "usr/share/doc/*/c[^o]*", "usr/share/man/*", "usr/share/info/*", "usr/share/lintian/*", "usr/share/locale/*",
	"var/backups/*", "var/tmp/*",
	"var/lib/apt", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed", "var/lib/systemd/credential.secret",
	"var/lib/dpkg/*-old", "var/lib/dpkg/available", "var/lib/dpkg/lock*", "var/lib/dpkg/triggers/Lock",
}

// emptied keep their directories, which belong to packages, and no file.
var emptied = []string{"var/cache", "var/log"}

// clean removes leftovers from a layer and makes what stays independent of the
// time and machine of the build.
func clean(dir string, epoch int64) error {
	for _, pattern := range leftovers {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, f := range found {
			if err := os.RemoveAll(f); err != nil {
				return fmt.Errorf("clean layer: %w", err)
			}
		}
	}
	for _, name := range emptied {
		if err := removeFiles(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("clean layer: %w", err)
		}
	}
	if err := keepKernelConfig(dir); err != nil {
		return err
	}
	if err := fixShadow(filepath.Join(dir, "etc/shadow"), epoch); err != nil {
		return err
	}
	// systemd takes "uninitialized" for a first boot, an empty file not
	// (machine-id(5)).
	id := filepath.Join(dir, "etc/machine-id")
	if _, err := os.Lstat(id); err == nil {
		if err := os.WriteFile(id, []byte("uninitialized\n"), 0o444); err != nil {
			return fmt.Errorf("clean layer: %w", err)
		}
	}
	return neutral(dir, epoch)
}

// removeFiles removes all but the directories below dir, which may be missing.
func removeFiles(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if p == dir && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		return os.Remove(p)
	})
}

// keepKernelConfig moves /boot/config-RELEASE to where kubeadm's preflight
// also looks for it, since /boot is not part of an image.
func keepKernelConfig(dir string) error {
	found, err := filepath.Glob(filepath.Join(dir, "boot/config-*"))
	if err != nil {
		return err
	}
	for _, f := range found {
		release := filepath.Base(f)[len("config-"):]
		if err := os.Rename(f, filepath.Join(dir, "usr/lib/modules", release, "config")); err != nil {
			return fmt.Errorf("clean layer: %w", err)
		}
	}
	return nil
}

// fixShadow sets the date of the last password change, the third field of
// shadow(5), to the epoch.
func fixShadow(path string, epoch int64) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("clean layer: %w", err)
	}
	day := []byte(strconv.FormatInt(epoch/86400, 10))
	lines := bytes.Split(data, []byte("\n"))
	for i, line := range lines {
		f := bytes.Split(line, []byte(":"))
		if len(f) > 2 && len(f[2]) > 0 {
			f[2] = day
			lines[i] = bytes.Join(f, []byte(":"))
		}
	}
	return os.WriteFile(path, bytes.Join(lines, []byte("\n")), 0o640)
}

// notes are what overlayfs writes to an upper directory about the file system
// and mount it was on. What it leaves out or replaces is in other marks
// (opaque, redirect), which stay.
var notes = []string{"trusted.overlay.origin", "trusted.overlay.impure", "trusted.overlay.uuid", "trusted.overlay.nlink"}

// neutral gives dir and everything below it the time of the epoch, and drops
// overlayfs's notes.
func neutral(dir string, epoch int64) error {
	return filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		for _, name := range notes {
			err := unix.Lremovexattr(p, name)
			if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EPERM) {
				return fmt.Errorf("drop %s of %s: %w", name, p, err)
			}
		}
		return SetTime(p, epoch)
	})
}

// SetTime gives one file, directory or symlink itself the time of the epoch,
// seconds since 1970.
func SetTime(path string, epoch int64) error {
	t := unix.Timespec{Sec: epoch}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set the time of %s: %w", path, err)
	}
	return nil
}
