package cluster

import (
	"path"
	"strings"
)

// installDisk checks what names the disk of the system.
func (v *checker) installDisk(field string, n Node) {
	d := n.InstallDisk
	if d == (InstallDisk{}) {
		return
	}
	bySize := d.MinSize != 0 || d.MaxSize != 0
	switch {
	case d.Path != "" && (d.Serial != "" || bySize), d.Serial != "" && bySize:
		v.errorf(field, "expected one of path, serial, or minSize and maxSize")
	case d.Path != "":
		v.installPath(field+".path", d.Path)
	case strings.ContainsAny(d.Serial, " \t/") || len(d.Serial) > 64:
		v.errorf(field+".serial", "expected a serial number as lsblk -o NAME,SERIAL shows it, got %q", short(d.Serial))
	case d.MaxSize != 0 && d.MaxSize < d.MinSize:
		v.errorf(field+".maxSize", "%s is less than minSize, %s", d.MaxSize, d.MinSize)
	}
}

func (v *checker) installPath(field, disk string) {
	switch {
	case !strings.HasPrefix(disk, "/dev/") || path.Clean(disk) != disk:
		v.errorf(field, "expected a path such as /dev/disk/by-id/…, got %q", short(disk))
	case !strings.HasPrefix(disk, "/dev/disk/"):
		v.warnf(field, "%s may be another disk at the next boot: prefer a name under /dev/disk/by-id", short(disk))
	}
}

// images checks where machines have theirs from.
func (v *checker) images() {
	text := v.c.Images.BaseURL
	if text == "" {
		return
	}
	// The words in braces are no part of a URL.
	u := webURL(strings.NewReplacer("{role}", "role", "{sha256}", "sum").Replace(text))
	switch {
	case u == nil:
		v.errorf("images.baseURL", "expected http://… or https://…, got %q", short(text))
	case u.User != nil:
		v.errorf("images.baseURL", "holds a password: machines get it as it is, and so does everybody on their network")
	case strings.ContainsAny(u.String(), "{}"):
		v.errorf("images.baseURL", "%s: expected no other words in braces than {role} and {sha256}", short(text))
	}
}
