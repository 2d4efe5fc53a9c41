package test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"imgbuild/builder/disk"
	"imgbuild/roles"
)

// everything is all that a build keeps in the cache.
var everything = []string{"debs/*", "components/*", "layers/*", "baked/*", "initramfs/*", "state/*", "scanned/*"}

// TestAFullDisk: the error says whose place it is, what it needs and has; with
// more space the same command succeeds.
func TestAFullDisk(t *testing.T) {
	t.Run("packages", func(t *testing.T) {
		s := newSite(t)
		tmpfs(t, s.cache, "40m")
		p := s.build()
		said := p.fails()
		assert.Regexp(t, `^imgbuild: build role master: fetch \d+ packages of base debian-13: no space left on `+regexp.QuoteMeta(s.cache)+
			` \(needs \d+ MiB, has 40 MiB\): free some, or name a place on a larger disk with --cache or --out$`, said)
		p.leavesNothing()
	})
	t.Run("layer", func(t *testing.T) {
		s := newSite(t)
		machine := filepath.Dir(s.cache)
		tmpfs(t, s.cache, "420m")
		// Links to other file systems cannot be made.
		require.NoError(t, exec.Command("cp", "-a", filepath.Join(machine, "debs"), s.cache).Run())
		s.link("components/*")
		p := s.build()
		said := p.fails()
		assert.Regexp(t, `^imgbuild: build role master: make base layer: (?s:.*): no space left on `+regexp.QuoteMeta(s.cache)+` \(needs more, has \d+ MiB\): free some`, said)
		p.leavesNothing()
		assert.Empty(t, names(t, filepath.Join(s.cache, "layers")))
	})
	t.Run("partitions", func(t *testing.T) {
		s := newSite(t)
		tmpfs(t, s.cache, "200m")
		s.link(everything...)
		p := s.build()
		assert.Regexp(t, `^imgbuild: build role master: make root and ESP: no space left on `+regexp.QuoteMeta(s.cache)+` \(needs \d+ MiB, has 200 MiB\): free some`, p.fails())
		p.leavesNothing()
		assert.Empty(t, names(t, s.out))

		tmpfs(t, s.cache, "remount,size=2g")
		s.build().succeeds()
	})
	t.Run("root file system", func(t *testing.T) {
		w := newWorld(t)
		tools := w.tree("tools")
		dir := t.TempDir()
		tmpfs(t, dir, "20m")
		start := time.Now()
		err := disk.Tools{Layers: []string{tools.Dir}}.Root(t.Context(), []string{tools.Dir}, filepath.Join(dir, "root.erofs"), uuid)
		assert.ErrorIs(t, err, unix.ENOSPC)
		assert.EqualError(t, err, "make root root.erofs: mkfs.erofs: no space left on device")
		t.Logf("mkfs.erofs ended after %s", time.Since(start))
	})
	t.Run("image", func(t *testing.T) {
		s := newSite(t)
		s.link(everything...)
		tmpfs(t, s.out, "100m")
		p := s.build()
		said := p.fails()
		assert.Regexp(t, `^imgbuild: build role master: write image master.raw: no space left on `+regexp.QuoteMeta(s.out)+` \(needs \d+ MiB, has 100 MiB\): free some`, said)
		p.leavesNothing()
		assert.Empty(t, names(t, s.out))

		tmpfs(t, s.out, "remount,size=4g")
		s.build().succeeds()
		p.leavesNothing()
	})
}

const uuid = "11111111-2222-4333-8444-555555555555"

// tmpfs mounts a small disk, or changes it.
func tmpfs(t *testing.T, dir, size string) {
	t.Helper()
	option, remount := strings.CutPrefix(size, "remount,")
	if !remount {
		require.NoError(t, os.MkdirAll(dir, 0o755))
		option = "size=" + size
		t.Cleanup(func() { require.NoError(t, exec.Command("umount", dir).Run()) })
	} else {
		option = "remount," + option
	}
	require.NoError(t, exec.Command("mount", "-t", "tmpfs", "-o", option, "imgbuild-test", dir).Run())
}

// nobody is an address on loopback that refuses connections.
const nobody = "http://127.0.0.1:1/debian"

// TestAnUnreachableMirror names it, soon.
func TestAnUnreachableMirror(t *testing.T) {
	s := newSite(t)
	s.write("cluster.yaml", func(data []byte) []byte { return append(data, "\nmirrors: {debian-13: \""+nobody+"\"}\n"...) })
	before := s.read("imgbuild.lock")
	start := time.Now()
	p := s.start("lock", "--roles", "roles")
	said := p.fails()
	t.Logf("lock: after %s: %s", time.Since(start).Round(time.Millisecond), said)
	assert.Less(t, time.Since(start), time.Minute)
	assert.Contains(t, said, "imgbuild: make imgbuild.lock: base debian-13: read the package lists from "+nobody)
	assert.Contains(t, said, "is the mirror reachable?")
	p.leavesNothing()
	assert.Equal(t, before, s.read("imgbuild.lock"))

	// A lock of this mirror, which has gone since.
	s.lock(func(l *roles.Lock) {
		for name, tree := range l.Trees {
			tree.Source.Mirror = nobody
			l.Trees[name] = tree
		}
	})
	start = time.Now()
	p = s.build()
	said = p.fails()
	t.Logf("role: after %s: %s", time.Since(start).Round(time.Millisecond), said)
	assert.Less(t, time.Since(start), time.Minute)
	assert.Regexp(t, `^imgbuild: build role master: fetch package \S+ \S+ from http://127.0.0.1:1/debian: is the mirror reachable\?`, said)
	p.leavesNothing()
	assert.Empty(t, names(t, filepath.Join(s.cache, "debs")))
}

// TestAWrongHashInTheLock is refused, and no image is made of it.
func TestAWrongHashInTheLock(t *testing.T) {
	wrong := strings.Repeat("0a", 32)
	t.Run("package", func(t *testing.T) {
		s := newSite(t)
		s.link(everything...)
		s.lock(func(l *roles.Lock) { l.Trees["debian-13/base"].Packages[0].SHA256 = wrong })
		p := s.build()
		assert.Regexp(t, `^imgbuild: build role master: package \S+ \S+: SHA-256 is [0-9a-f]{64}, imgbuild.lock has `+wrong+
			`: the mirror or the lock is wrong; run imgbuild lock and compare$`, p.fails())
		p.leavesNothing()
		assert.Empty(t, names(t, s.out))
	})
	t.Run("component", func(t *testing.T) {
		s := newSite(t)
		s.lock(func(l *roles.Lock) { l.Components[0].Inputs = wrong })
		p := s.build()
		assert.Regexp(t, `^imgbuild: build role master: component \S+: imgbuild.lock has inputs 0a0a0a0a0a0a…, this imgbuild has [0-9a-f]{12}…: run imgbuild lock$`, p.fails())
		assert.NoDirExists(t, s.out)
		assert.Empty(t, names(t, s.cache), "before any work")
	})
}

// lock changes the site's imgbuild.lock.
func (s *site) lock(change func(*roles.Lock)) {
	s.t.Helper()
	s.write("imgbuild.lock", func(data []byte) []byte {
		var l roles.Lock
		require.NoError(s.t, json.Unmarshal(data, &l))
		change(&l)
		data, err := json.Marshal(l)
		require.NoError(s.t, err)
		return bytes.TrimSpace(data)
	})
}

// TestAMissingProgram is said before any work is done, with its package.
func TestAMissingProgram(t *testing.T) {
	programs := map[string]string{
		"go": "golang-go", "apt-get": "apt", "dpkg-deb": "dpkg", "unshare": "util-linux", "mount": "mount",
	}
	s := newSite(t)
	for missing, pkg := range programs {
		dir := t.TempDir()
		for name := range programs {
			path, err := exec.LookPath(name)
			require.NoError(t, err)
			if name != missing {
				require.NoError(t, os.Symlink(path, filepath.Join(dir, name)))
			}
		}
		s.env = []string{"PATH=" + dir}
		want := "this machine lacks " + missing + ": apt-get install " + pkg
		said := s.build().fails()
		assert.Contains(t, said, "imgbuild: build role master: "+want)
		assert.NotContains(t, said, "\n")
		if missing == "go" || missing == "apt-get" {
			assert.Regexp(t, "^imgbuild: make imgbuild.lock: this machine lacks "+missing+"(, apt-cache)?: apt-get install "+pkg,
				s.start("lock", "--roles", "roles").fails())
		}
		assert.NoDirExists(t, s.out)
		assert.Empty(t, names(t, s.cache))
	}
}
