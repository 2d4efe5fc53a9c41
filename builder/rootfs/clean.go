package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// leftovers are what installing packages leaves behind and an image must not
// hold: identities, logs, caches, and what differs from run to run.
var leftovers = []string{
	"boot/initrd.img*", "boot/System.map*",
	"etc/hostname", "etc/resolv.conf", "etc/hosts", "etc/.pwd.lock",
	"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-",
	"etc/ssh/ssh_host_*", "etc/apt",
	"root/.*rc", "root/.profile",
	"run/*", "tmp/*", "mnt/*",
	"usr/sbin/policy-rc.d",
	"usr/share/doc/*/[!c]*", "usr/share/man/*", "usr/share/info/*", "usr/share/lintian/*", "usr/share/locale/*",
	"var/backups/*", "var/cache/*", "var/log/*", "var/tmp/*",
	"var/lib/apt", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed", "var/lib/systemd/credential.secret",
	"var/lib/dpkg/*-old", "var/lib/dpkg/available", "var/lib/dpkg/lock*", "var/lib/dpkg/triggers/Lock",
}

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
		return os.WriteFile(id, []byte("uninitialized\n"), 0o444)
	}
	return nil
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

func mkdirAll(path string) error { return os.MkdirAll(path, 0o755) }
