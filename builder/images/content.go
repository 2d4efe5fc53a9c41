package images

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// entry is one file of an image: a directory, a symlink where link is set, a
// copy of a host file where host is set, or data.
type entry struct {
	path string
	dir  bool
	// mode 0 means: from the host file, 0755 or 0644.
	mode int64
	link string
	host string
	data string
}

// content is the files of one image by path.
type content map[string]entry

// add puts an entry and its missing parent directories. The first entry of a
// path stays: the same library is met many times.
func (c content) add(e entry) {
	e.path = path.Clean(e.path)
	if _, ok := c[e.path]; ok {
		return
	}
	c[e.path] = e
	if parent := path.Dir(e.path); parent != "/" {
		c.add(entry{path: parent, dir: true, mode: 0o755})
	}
}

// addBasics adds what nearly every program expects of a root: accounts, name
// service order, CA certificates and a writable /tmp.
func (c content) addBasics(t tree) error {
	const certs = "/etc/ssl/certs/ca-certificates.crt"
	c.add(entry{path: "/etc/passwd", mode: 0o644, data: "root:x:0:0:root:/root:/sbin/nologin\n" +
		"nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n" +
		"nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"})
	c.add(entry{path: "/etc/group", mode: 0o644, data: "root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n"})
	c.add(entry{path: "/etc/nsswitch.conf", mode: 0o644, data: "hosts: files dns\n"})
	c.add(entry{path: "/tmp", dir: true, mode: 0o1777})
	c.add(entry{path: "/root", dir: true, mode: 0o700})
	if _, err := c.addFromTree(t, certs); err != nil {
		return fmt.Errorf("CA certificates: %w: add the package ca-certificates to the base", err)
	}
	return nil
}

// check refuses contents that no order of unpacking could make right: a file
// below something that is not a directory.
func (c content) check() error {
	for p := range c {
		parent, ok := c[path.Dir(p)]
		if ok && !parent.dir {
			return fmt.Errorf("%s lies below %s, which is not a directory", p, parent.path)
		}
	}
	return nil
}

// write makes a layer archive: sorted, owned by root, every time the epoch.
// Symlinked directories must come before what is reached through them, which
// check has made impossible to need.
func (c content) write(w io.Writer, epoch time.Time) error {
	if err := c.check(); err != nil {
		return err
	}
	paths := make([]string, 0, len(c))
	for p := range c {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	tw := tar.NewWriter(w)
	for _, p := range paths {
		if err := writeEntry(tw, c[p], epoch); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return tw.Close()
}

func writeEntry(tw *tar.Writer, e entry, epoch time.Time) error {
	h := &tar.Header{
		Name: strings.TrimPrefix(e.path, "/"), Mode: e.mode, ModTime: epoch,
		Typeflag: tar.TypeReg, Size: int64(len(e.data)), Format: tar.FormatPAX,
	}
	switch {
	case e.dir:
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	case e.link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
	case e.host != "":
		return copyEntry(tw, h, e.host)
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.WriteString(tw, e.data)
	return err
}

// copyEntry streams a host file. Only whether it is executable counts of its
// mode: set-user-id bits have no place in these images.
func copyEntry(tw *tar.Writer, h *tar.Header, host string) error {
	f, err := os.Open(host)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "read", Path: host, Err: fmt.Errorf("not a regular file")}
	}
	h.Size = info.Size()
	if h.Mode == 0 {
		h.Mode = 0o644
		if info.Mode()&0o111 != 0 {
			h.Mode = 0o755
		}
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}
