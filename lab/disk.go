package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// imageFile remembers what the disk of a machine is an overlay of.
const imageFile = "image.json"

// image is the identity of an image file: a build replaces the file, and the
// blocks under an existing overlay would be those of another system. Its Path is
// empty where the disk started empty.
type image struct {
	Path     string    `json:"path"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
}

// prepare makes the disk and the firmware's variables where the machine has
// none, and refuses a disk whose image is not the one it was made from.
func (m machine) prepare(ctx context.Context, n Node) error {
	var now image
	if n.NetBoot == "" {
		var err error
		if now, err = identify(n.Image); err != nil {
			return fmt.Errorf("image of %s: %w", n.Name, err)
		}
	}
	if m.hasDisk() {
		return m.sameImage(now)
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	if err := copyFile(firmwareVars, filepath.Join(m.dir, varsFile)); err != nil {
		return fmt.Errorf("firmware variables of %s: %w", n.Name, err)
	}
	for _, d := range n.Raw {
		if err := m.makeRaw(d); err != nil {
			return fmt.Errorf("disk %s of %s: %w", d.Serial, n.Name, err)
		}
	}
	// Last: its presence says that everything is there.
	if err := m.makeDisk(ctx, now, n.DiskBytes); err != nil {
		return fmt.Errorf("disk of %s: %w", n.Name, err)
	}
	return nil
}

func (m machine) hasDisk() bool {
	_, err := os.Stat(filepath.Join(m.dir, diskFile))
	return err == nil
}

func identify(path string) (image, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return image{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return image{}, err
	}
	return image{Path: path, Size: info.Size(), Modified: info.ModTime().UTC()}, nil
}

func (m machine) sameImage(now image) error {
	text, err := os.ReadFile(filepath.Join(m.dir, imageFile))
	if err != nil {
		return fmt.Errorf("image of the disk of %s: %w: imgbuild lab reimage %[1]s makes a fresh one", m.name, err)
	}
	var was image
	if err := json.Unmarshal(text, &was); err != nil {
		return fmt.Errorf("image of the disk of %s: %w: imgbuild lab reimage %[1]s makes a fresh one", m.name, err)
	}
	switch {
	case was.Path == "" && now.Path != "":
		return fmt.Errorf("the disk of %s was installed over the network: imgbuild lab start --netboot %[1]s starts it, imgbuild lab reimage %[1]s makes one from %s", m.name, now.Path)
	case was.Path != now.Path:
		return fmt.Errorf("the disk of %s was made from %s, not from %s: imgbuild lab reimage %[1]s starts it on a fresh disk", m.name, was.Path, now.Path)
	case was.Size != now.Size || !was.Modified.Equal(now.Modified):
		return fmt.Errorf("%s has changed since the disk of %s was made from it: imgbuild lab reimage %[2]s starts it on a fresh disk", now.Path, m.name)
	}
	return nil
}

func (m machine) makeDisk(ctx context.Context, from image, size int64) (err error) {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(m.dir, imageFile), text); err != nil {
		return err
	}
	disk := filepath.Join(m.dir, diskFile)
	defer func() {
		if err != nil {
			os.Remove(disk + ".new")
		}
	}()
	args := []string{"create", "-q", "-f", "qcow2"}
	if from.Path != "" {
		args = append(args, "-F", "raw", "-b", from.Path)
	}
	if err := run(ctx, "qemu-img", append(args, disk+".new", strconv.FormatInt(max(size, from.Size), 10))...); err != nil {
		return err
	}
	return os.Rename(disk+".new", disk)
}

// writeFile makes the whole file or none.
func writeFile(name string, data []byte) error {
	return copyTo(name, bytes.NewReader(data))
}

func copyFile(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return copyTo(to, f)
}

func copyTo(name string, r io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
