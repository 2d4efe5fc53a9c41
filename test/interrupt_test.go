package test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/manifest"
)

// moments are the steps of a build, each with a program that shows that it is in
// the middle of it; without one its beginning is taken.
var moments = []struct{ step, program string }{
	{"packages", "apt-helper"}, {"package layers", "dpkg-deb"}, {"package layers", "dpkg"},
	{"components", "go"}, {"container images", "containerd"}, {"files", ""},
	{"disk image", "dracut"}, {"disk image", "mkfs.erofs"}, {"verification", "veritysetup"}, {"manifest", "qemu-img"},
}

// TestCtrlCInEveryStep interrupts one build in every step on its way. What was
// finished stays, and so each run gets one step further than the one before.
func TestCtrlCInEveryStep(t *testing.T) {
	s := newSite(t)
	// Of what takes long only the components are taken from the machine's cache,
	// and so that the first step has some work, not all of the packages.
	s.link("components/*/*", "debs/*")
	s.unlink("components/cni-plugins/*")
	s.unlink("debs/0*")
	for _, m := range moments {
		p := s.build("--format", "raw,qcow2")
		p.await(m.step)
		if m.program != "" {
			p.awaitProgram(m.program)
		}
		start := time.Now()
		// A terminal sends it to all that it has started.
		require.NoError(t, syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT))
		said := p.fails()
		took := time.Since(start)
		t.Logf("%s: reached in %s, ended after %s", m.step, start.Sub(p.began).Round(100*time.Millisecond), took.Round(time.Millisecond))
		assert.Less(t, took, 10*time.Second, m.step)
		assert.Equal(t, "imgbuild: build role master: interrupted in step "+m.step+
			": nothing half-made is left, the same command goes on from there", said)
		p.leavesNothing()
		assert.Empty(t, names(t, s.out), m.step)
		if m.program == "dpkg-deb" {
			// It is made as the base layer is: once is enough.
			s.link("layers/" + s.w.tree("tools").Key)
		}
	}
	p := s.build("--format", "raw,qcow2")
	p.succeeds()
	p.leavesNothing()
	assert.Equal(t, []string{"master.manifest.json", "master.qcow2", "master.raw", "master.spdx.json"}, names(t, s.out))
	s.start("inspect", filepath.Join(s.out, "master.raw")).succeeds()

	// The layers were made anew, in another place and at another time, and are
	// the same byte for byte: so is the whole image, state included.
	ours, err := manifest.Read(manifest.File(s.out, "master"))
	require.NoError(t, err)
	worlds, err := manifest.Read(manifest.File(s.w.images, "master"))
	require.NoError(t, err)
	assert.Equal(t, worlds.RootHash, ours.RootHash)
	assert.Equal(t, worlds.Partitions, ours.Partitions)
	assert.Equal(t, worlds.Files[0], ours.Files[0], "master.raw")
}

// TestAKilledBuild cannot clear away anything itself: the next one does.
func TestAKilledBuild(t *testing.T) {
	s := newSite(t)
	s.link("debs/*", "components/*", "baked/*", "initramfs/*", "state/*", "scanned/*")
	p := s.build("--offline")
	p.await("package layers")
	p.awaitProgram("dpkg")
	require.NoError(t, p.cmd.Process.Kill())
	code, _ := p.end()
	assert.Equal(t, -1, code)
	require.Eventually(t, func() bool { return len(p.session()) == 0 && len(s.mounts()) == 0 }, 10*time.Second, 10*time.Millisecond,
		"what runs in a sandbox ends with imgbuild")
	require.NotEmpty(t, names(t, filepath.Join(s.cache, "scratch")), "it was in the middle of something")

	p = s.build("--offline")
	said := p.succeeds()
	assert.Equal(t, 1, strings.Count(said, "removed what builds that were killed had left"))
	p.leavesNothing()
	assert.Equal(t, []string{"master.manifest.json", "master.raw", "master.spdx.json"}, names(t, s.out))
}

// TestCtrlCInLock keeps the old lock.
func TestCtrlCInLock(t *testing.T) {
	s := newSite(t)
	before := s.read("imgbuild.lock")
	p := s.start("lock", "--roles", "roles")
	p.awaitProgram("apt-get")
	require.NoError(t, syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT))
	assert.Equal(t, "imgbuild: interrupted: imgbuild.lock is as it was", p.fails())
	p.leavesNothing()
	assert.Equal(t, before, s.read("imgbuild.lock"))
	assert.Equal(t, []string{"cluster.yaml", "imgbuild.lock"}, names(t, s.dir))
}
