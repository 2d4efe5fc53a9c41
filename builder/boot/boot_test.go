package boot

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func layer(t *testing.T, kernels ...string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "boot"), 0o755))
	for _, k := range kernels {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "boot", k), nil, 0o644))
	}
	return dir
}

func TestFindKernel(t *testing.T) {
	with, without := layer(t, "vmlinuz-6.12.48+deb13-amd64", "config-6.12.48+deb13-amd64"), t.TempDir()
	k, err := FindKernel([]string{with, without})
	require.NoError(t, err)
	assert.Equal(t, Kernel{Release: "6.12.48+deb13-amd64", Image: filepath.Join(with, "boot/vmlinuz-6.12.48+deb13-amd64")}, k)

	_, err = FindKernel([]string{without})
	assert.EqualError(t, err, "find kernel: 0 files /boot/vmlinuz-*, want one: name exactly one kernel package in the base")
	_, err = FindKernel([]string{with, layer(t, "vmlinuz-6.16")})
	assert.ErrorContains(t, err, "find kernel: 2 files")
}

// TestDracut: nothing of the machine that builds reaches the initramfs.
func TestDracut(t *testing.T) {
	argv := Initramfs{Modules: []string{"ignition", "imgbuild"}, Omit: []string{"lvm"}, Drivers: []string{"virtio_net"}}.argv(Kernel{Release: "6.12"})
	assert.Subset(t, argv, []string{"--no-hostonly", "--no-hostonly-cmdline", "--reproducible", "--no-early-microcode"})
	for option, want := range map[string]string{
		"--add": "ignition imgbuild", "--omit": "lvm", "--add-drivers": "virtio_net", "--kver": "6.12",
	} {
		assert.Equal(t, want, argv[slices.Index(argv, option)+1], option)
	}
	assert.Equal(t, "/mnt/out/initramfs.img", argv[len(argv)-1])
}
