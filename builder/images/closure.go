package images

import (
	"debug/elf"
	"errors"
	"fmt"
	"path"
	"strings"
)

// libraryDirs are where ld.so looks besides a program's own RUNPATH: ld.so(8),
// and the multiarch folders that Debian compiles in first.
func libraryDirs(m elf.Machine) []string {
	dirs := []string{"/lib", "/usr/lib", "/lib64", "/usr/lib64"}
	switch m {
	case elf.EM_X86_64:
		return append([]string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"}, dirs...)
	case elf.EM_AARCH64:
		return append([]string{"/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu"}, dirs...)
	}
	return dirs
}

// addProgram adds the program and, read from the ELF files themselves, the
// interpreter and every shared library that it needs. Symlinks on the way come
// along. What a program opens with dlopen(3) is not found.
func (c *content) addProgram(t tree, name string) error {
	queue := []string{name}
	seen := map[string]bool{}
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		real, err := c.addFromTree(t, p)
		if err != nil {
			return fmt.Errorf("program %s: %w", name, err)
		}
		if seen[real.path] {
			continue
		}
		seen[real.path] = true
		needs, err := needed(t, real)
		if err != nil {
			return fmt.Errorf("program %s: %w", name, err)
		}
		queue = append(queue, needs...)
	}
	return nil
}

// addFromTree adds one file of the tree and the symlinks that lead to it.
func (c *content) addFromTree(t tree, name string) (entry, error) {
	real, host, links, err := t.resolve(name)
	if err != nil {
		return entry{}, err
	}
	for _, l := range links {
		c.add(entry{path: l.path, link: l.target, mode: 0o777})
	}
	e := entry{path: real, host: host}
	c.add(e)
	return e, nil
}

// needed returns the paths of what one ELF file needs directly.
func needed(t tree, e entry) ([]string, error) {
	f, err := elf.Open(e.host)
	var format *elf.FormatError
	if errors.As(err, &format) {
		return nil, fmt.Errorf("%s is no ELF file: only programs can be taken with their libraries", e.path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	libs, err := f.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("read needed libraries of %s: %w", e.path, err)
	}
	dirs, err := searchDirs(f, path.Dir(e.path))
	if err != nil {
		return nil, fmt.Errorf("read run path of %s: %w", e.path, err)
	}
	var out []string
	if i := interpreter(f); i != "" {
		out = append(out, i)
	}
	for _, lib := range libs {
		p, err := findLibrary(t, lib, dirs)
		if err != nil {
			return nil, fmt.Errorf("%s needs %s: %w", e.path, lib, err)
		}
		out = append(out, p)
	}
	return out, nil
}

func findLibrary(t tree, lib string, dirs []string) (string, error) {
	if strings.Contains(lib, "/") {
		return lib, nil
	}
	for _, d := range dirs {
		p := path.Join(d, lib)
		_, _, _, err := t.resolve(p)
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, errNotInTree) {
			return "", err
		}
	}
	return "", errNotInTree
}

// searchDirs are DT_RPATH or DT_RUNPATH with $ORIGIN expanded, then the
// system's folders.
func searchDirs(f *elf.File, origin string) ([]string, error) {
	var dirs []string
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		values, err := f.DynString(tag)
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			v = strings.NewReplacer("${ORIGIN}", origin, "$ORIGIN", origin).Replace(v)
			dirs = append(dirs, strings.Split(v, ":")...)
		}
	}
	return append(dirs, libraryDirs(f.Machine)...), nil
}

// interpreter is PT_INTERP: the dynamic linker's path.
func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return ""
		}
		return strings.TrimRight(string(b), "\x00")
	}
	return ""
}
