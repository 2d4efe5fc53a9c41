package install

import (
	"fmt"
	"slices"
	"strings"

	"imgbuild/protocol"
)

// Disk is a disk of the machine, as the kernel and udev know it.
type Disk struct {
	// Path is the kernel's name below /dev, Links are the others.
	Path   string
	Links  []string
	Serial string
	// Size and SectorSize are bytes.
	Size, SectorSize int64
	// ReadOnly and Removable are the kernel's words.
	ReadOnly, Removable bool
}

func (d Disk) String() string {
	name := d.Path
	if d.Serial != "" {
		name += " (serial " + d.Serial + ")"
	}
	return fmt.Sprintf("%s, %.1f GB", name, float64(d.Size)/1e9)
}

// choose finds the one disk that an order names. Which one it is never depends on
// the order in which the kernel has found them.
func choose(disks []Disk, want protocol.Disk) (Disk, error) {
	var found []Disk
	for _, d := range disks {
		if matches(d, want) {
			found = append(found, d)
		}
	}
	if len(found) == 1 {
		return found[0], usable(found[0])
	}
	if len(found) == 0 {
		return Disk{}, refusal{fmt.Sprintf("no disk is %s: the machine has %s", wanted(want), list(disks))}
	}
	return Disk{}, refusal{fmt.Sprintf("%d disks are %s: %s; name one with installDisk in cluster.yaml", len(found), wanted(want), list(found))}
}

func matches(d Disk, want protocol.Disk) bool {
	named := func(path string) bool { return d.Path == path || slices.Contains(d.Links, path) }
	switch {
	case want.Path != "":
		return named(want.Path)
	case slices.ContainsFunc(want.Except, named):
		return false
	case want.Serial != "":
		return d.Serial == want.Serial
	case d.Removable || d.ReadOnly:
		return false // Nobody means these without naming them.
	}
	return d.Size >= want.MinSize && (want.MaxSize == 0 || d.Size <= want.MaxSize)
}

func usable(d Disk) error {
	switch {
	case d.ReadOnly:
		return refusal{d.String() + " is read-only"}
	case d.SectorSize != sector:
		return refusal{fmt.Sprintf("%s has logical sectors of %d bytes: images are made for %d; many disks can be set to them", d, d.SectorSize, sector)}
	}
	return nil
}

// wanted says in words what was looked for.
func wanted(want protocol.Disk) string {
	switch {
	case want.Path != "":
		return want.Path
	case want.Serial != "":
		return "one with the serial number " + want.Serial
	case want.MaxSize != 0:
		return fmt.Sprintf("between %.1f and %.1f GB large", float64(want.MinSize)/1e9, float64(want.MaxSize)/1e9)
	case want.MinSize != 0:
		return fmt.Sprintf("at least %.1f GB large", float64(want.MinSize)/1e9)
	}
	return "free for the system"
}

func list(disks []Disk) string {
	var names []string
	for _, d := range disks {
		names = append(names, d.String())
	}
	if names == nil {
		return "no disks: is their driver in the initramfs?"
	}
	return strings.Join(names, "; ")
}
