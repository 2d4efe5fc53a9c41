package console_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/console"
)

func TestEveryConsoleHasEveryLine(t *testing.T) {
	for _, test := range []struct {
		name, active string
		devices      map[string]string
	}{
		{"screen and serial port", "tty0 ttyS0\n", map[string]string{"tty0": "one\ntwo\n", "ttyS0": "one\ntwo\n"}},
		{"one that does not answer", "tty0 ttyS0 gone\n", map[string]string{"tty0": "one\ntwo\n", "ttyS0": "one\ntwo\n"}},
		{"none is known", "", map[string]string{"console": "one\ntwo\n"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			require.NoError(t, os.MkdirAll(filepath.Join(root, "dev"), 0o755))
			require.NoError(t, os.MkdirAll(filepath.Join(root, "sys/class/tty/console"), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(root, "sys/class/tty/console/active"), []byte(test.active), 0o644))
			for name := range test.devices {
				require.NoError(t, os.WriteFile(filepath.Join(root, "dev", name), nil, 0o644))
			}
			for _, line := range []string{"one\n", "two\n"} {
				n, err := console.Devices{Root: root}.Write([]byte(line))
				require.NoError(t, err)
				assert.Equal(t, len(line), n)
			}
			for name, want := range test.devices {
				got, err := os.ReadFile(filepath.Join(root, "dev", name))
				require.NoError(t, err)
				assert.Equal(t, want, string(got), name)
			}
		})
	}
	_, err := console.Devices{Root: t.TempDir()}.Write([]byte("line\n"))
	assert.ErrorContains(t, err, "dev/console")
}
