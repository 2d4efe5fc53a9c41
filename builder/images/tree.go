package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// tree is a file system made of layers, lowest first, read the way overlayfs
// shows it. Opaque directories are not understood: package layers have none.
type tree []string

// link is a symlink met on the way to a file.
type link struct{ path, target string }

// errNotInTree is returned by resolve where the path does not exist.
var errNotInTree = errors.New("not in the base tree")

// maxLinks is the kernel's limit on symlinks in one path: path_resolution(7).
const maxLinks = 40

// resolve follows name, absolute, through every symlink inside the tree. It
// returns the real path in the tree, its path on the host, and the links met.
func (t tree) resolve(name string) (real, host string, links []link, err error) {
	rest := strings.Split(strings.Trim(path.Clean(name), "/"), "/")
	cur := "/"
	for len(rest) > 0 {
		next := path.Join(cur, rest[0])
		rest = rest[1:]
		h, info, err := t.lstat(next)
		if err != nil {
			return "", "", nil, fmt.Errorf("%s: %w", name, err)
		}
		host = h
		if info.Mode()&fs.ModeSymlink == 0 {
			cur = next
			continue
		}
		target, err := os.Readlink(h)
		if err != nil {
			return "", "", nil, err
		}
		links = append(links, link{next, target})
		if len(links) > maxLinks {
			return "", "", nil, fmt.Errorf("%s: too many symlinks in the base tree", name)
		}
		if path.IsAbs(target) {
			cur = "/"
		}
		rest = append(strings.Split(strings.Trim(path.Clean(target), "/"), "/"), rest...)
	}
	return cur, host, links, nil
}

// lstat finds one path, whose parents are no symlinks, in the topmost layer
// that has it. A character device 0:0 is overlayfs's mark of a deleted file.
func (t tree) lstat(name string) (string, fs.FileInfo, error) {
	for i := len(t) - 1; i >= 0; i-- {
		h := filepath.Join(t[i], name)
		info, err := os.Lstat(h)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return "", nil, err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if ok && info.Mode()&fs.ModeCharDevice != 0 && st.Rdev == 0 {
			return "", nil, errNotInTree
		}
		return h, info, nil
	}
	return "", nil, errNotInTree
}
