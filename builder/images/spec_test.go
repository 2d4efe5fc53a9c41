package images

import (
	"debug/elf"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/components"
)

// TestEveryImage is made of programs that components have, under a full
// reference with a tag.
func TestEveryImage(t *testing.T) {
	ref := regexp.MustCompile(`^[a-z0-9.-]+\.[a-z]+/[a-z0-9/-]+:v?[0-9][0-9.-]+$`)
	var refs []string
	for _, s := range All() {
		assert.Regexp(t, ref, s.Ref)
		refs = append(refs, s.Ref)
		for _, f := range s.Files {
			spec, err := components.Find(f.component())
			require.NoError(t, err, s.Ref)
			_, program, _ := strings.Cut(f.From, "/")
			assert.Contains(t, spec.Outputs(), program, s.Ref)
			assert.True(t, strings.HasPrefix(f.To, "/"), f.To)
		}
		for _, p := range s.Programs {
			assert.True(t, strings.HasPrefix(p, "/"), p)
		}
	}
	assert.True(t, slices.IsSorted(refs))
	assert.Len(t, slices.Compact(slices.Clone(refs)), len(refs))
	// What a cluster of one pulls otherwise; kubeadm config images list.
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "coredns", "pause"} {
		assert.True(t, slices.ContainsFunc(refs, func(r string) bool { return strings.Contains(r, "/"+name+":") }), name)
	}
}

func TestUnknownImage(t *testing.T) {
	const want = "image docker.io/library/busybox:1: not one that is composed; known are ghcr.io/flannel-io/flannel:"
	_, err := Components("docker.io/library/busybox:1")
	assert.ErrorContains(t, err, want)
	_, err = Resolve("docker.io/library/busybox:1", nil, "")
	assert.ErrorContains(t, err, want)
	_, err = small(t).Build(t.Context(), Image{Ref: "docker.io/library/busybox:1"}, t.TempDir())
	assert.ErrorContains(t, err, want)
}

// TestResolve changes with what is in the image, and with nothing else.
func TestResolve(t *testing.T) {
	const etcd, pause = "registry.k8s.io/etcd:3.6.8-0", "registry.k8s.io/pause:3.10.2"
	inputs := func(ref string, base, etcd, pause string) string {
		img, err := Resolve(ref, map[string]string{"etcd": etcd, "pause": pause}, base)
		require.NoError(t, err)
		return img.Inputs
	}
	first := inputs(etcd, "base", "e", "p")
	assert.Equal(t, first, inputs(etcd, "base", "e", "other"))
	assert.NotEqual(t, first, inputs(etcd, "base", "other", "p"))
	assert.NotEqual(t, first, inputs(etcd, "other", "e", "p"), "its certificates are the base's")
	assert.Equal(t, inputs(pause, "base", "e", "p"), inputs(pause, "other", "e", "p"), "nothing of the base is in it")
	_, err := Resolve(etcd, map[string]string{"pause": "p"}, "base")
	assert.ErrorContains(t, err, "needs component etcd, which is not among the resolved ones")
}

// TestProgramWithLibraries takes a real program of this machine along with all
// that it needs to start.
func TestProgramWithLibraries(t *testing.T) {
	const program = "/bin/sh"
	f, err := elf.Open(program)
	if err != nil || interpreter(f) == "" {
		t.Skip("this machine has no dynamic /bin/sh")
	}
	defer f.Close()
	c := content{}
	require.NoError(t, c.addProgram(tree{"/"}, program))
	require.NoError(t, c.check())
	assert.True(t, reachable(c, program))
	assert.True(t, reachable(c, interpreter(f)), "the dynamic linker")
	libs, err := f.ImportedLibraries()
	require.NoError(t, err)
	for _, lib := range libs {
		assert.True(t, slices.ContainsFunc(libraryDirs(f.Machine), func(dir string) bool { return reachable(c, dir+"/"+lib) }), lib)
	}
}

// reachable follows name through the links of the content, as a kernel would.
func reachable(c content, name string) bool {
	rest, cur := strings.Split(strings.Trim(name, "/"), "/"), "/"
	for steps := 0; len(rest) > 0 && steps < 100; steps++ {
		next := filepath.Join(cur, rest[0])
		rest = rest[1:]
		e, ok := c[next]
		switch {
		case next == "/":
			cur = next
		case !ok:
			return false
		case e.link == "":
			cur = next
		default:
			if filepath.IsAbs(e.link) {
				cur = "/"
			}
			rest = append(strings.Split(strings.Trim(e.link, "/"), "/"), rest...)
		}
	}
	return len(rest) == 0
}

func TestProgramThatIsNone(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "usr/bin/script", []byte("#!/bin/sh\n# A script that starts a program.\nexec true\n"))
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, "usr/bin/loop")))
	for name, want := range map[string]string{
		"/usr/bin/script": "is no ELF file: only programs can be taken with their libraries",
		"/usr/bin/gone":   "not in the base tree",
		"/usr/bin/loop":   "too many symlinks in the base tree",
	} {
		c := content{}
		err := c.addProgram(tree{dir}, name)
		assert.ErrorContains(t, err, "program "+name+": ")
		assert.ErrorContains(t, err, want)
	}
}

// TestTree reads layers the way overlayfs shows them.
func TestTree(t *testing.T) {
	low, high := t.TempDir(), t.TempDir()
	put(t, low, "usr/lib/a", []byte("low"))
	put(t, low, "usr/lib/b", []byte("low"))
	put(t, high, "usr/lib/b", []byte("high"))
	require.NoError(t, os.Symlink("usr/lib", filepath.Join(low, "lib")))
	require.NoError(t, os.Symlink("../lib/../lib/b", filepath.Join(low, "usr/link")))
	for name, want := range map[string]string{
		"/lib/a": low + "/usr/lib/a", "/lib/b": high + "/usr/lib/b", "/usr/link": high + "/usr/lib/b",
	} {
		real, host, links, err := tree{low, high}.resolve(name)
		require.NoError(t, err, name)
		assert.Equal(t, want, host)
		assert.Equal(t, "/usr/lib/"+filepath.Base(host), real)
		assert.NotEmpty(t, links)
	}
}
