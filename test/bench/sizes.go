package main

import (
	"context"
	"debug/pe"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"imgbuild/builder/disk"
	"imgbuild/builder/manifest"
)

// measureSizes looks at the image that the last build left, and makes a qcow2
// of it.
func measureSizes(ctx context.Context, w *world) (table, error) {
	cache, err := w.warmCache()
	if err != nil {
		return table{}, err
	}
	w.say("sizes")
	out := w.path("sizes")
	if _, err := w.timed(ctx, cache, "role", "master", "--roles", w.roles(), "--out", out, "--format", "raw,qcow2"); err != nil {
		return table{}, err
	}
	m, err := manifest.Read(manifest.File(out, "master"))
	if err != nil {
		return table{}, err
	}
	t := table{Title: "Sizes", What: "part of the image", Columns: []string{"MiB"}}
	add := func(name string, bytes int64) {
		t.Rows = append(t.Rows, row{name, []sample{{float64(bytes) / (1 << 20)}}})
	}
	raw := filepath.Join(out, "master.raw")
	uki, initramfs, err := ukiSizes(ctx, raw, m, w.path("slot.efi"))
	if err != nil {
		return table{}, fmt.Errorf("look into %s: %w", raw, err)
	}
	add("initramfs", initramfs)
	add("UKI (kernel, initramfs, command line)", uki)
	for _, p := range m.Partitions {
		switch p.Name {
		case "root-a":
			add("root (erofs)", p.Content)
		case "verity-a":
			add("verity hash tree", p.Content)
		case disk.StateLabel:
			used, err := dataIn(raw, p.Start, p.Size)
			if err != nil {
				return table{}, err
			}
			add("state: partition", p.Size)
			add("state: of it not empty", used)
		}
	}
	mib, err := allocated(raw)
	if err != nil {
		return table{}, err
	}
	t.Rows = append(t.Rows, row{"raw image, on disk", []sample{{mib}}})
	for _, f := range m.Files {
		if f.Format == "qcow2" {
			add("qcow2, compressed", f.Size)
		}
	}
	return t, nil
}

// ukiSizes takes the UKI out of the ESP, the first partition, and measures it
// and its section .initrd. mcopy comes from mtools.
func ukiSizes(ctx context.Context, raw string, m manifest.Manifest, to string) (uki, initramfs int64, err error) {
	source := fmt.Sprintf("%s@@%d", raw, m.Partitions[0].Start)
	out, err := exec.CommandContext(ctx, "mcopy", "-i", source, "::/"+m.UKI.Path, to).CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("mcopy: %w: %s", err, lastLines(string(out), 3))
	}
	info, err := os.Stat(to)
	if err != nil {
		return 0, 0, err
	}
	image, err := pe.Open(to)
	if err != nil {
		return 0, 0, err
	}
	defer image.Close()
	s := image.Section(".initrd")
	if s == nil {
		return 0, 0, errors.New("the UKI has no section .initrd")
	}
	return info.Size(), int64(s.VirtualSize), nil
}

// dataIn is how many bytes of a part of a sparse file are not a hole.
func dataIn(file string, start, size int64) (int64, error) {
	const seekData, seekHole = 3, 4 // lseek(2)
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var sum int64
	for at := start; at < start+size; {
		data, err := f.Seek(at, seekData)
		if err != nil || data >= start+size {
			// ENXIO: no data follows.
			return sum, nil
		}
		hole, err := f.Seek(data, seekHole)
		if err != nil {
			return 0, err
		}
		sum += min(hole, start+size) - data
		at = hole
	}
	return sum, nil
}
