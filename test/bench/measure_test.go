package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseDiskstats(t *testing.T) {
	const text = " 254       0 vda 40450 7290 1746114 16176 52143 94299 7481248 33008 1 15160 51118\n 254       1 vda1 1 2 3 4 5 6 8 8\n"
	for minor, want := range map[uint32]int64{0: 7481248 * 512, 1: 8 * 512} {
		got, ok := parseDiskstats(text, 254, minor)
		assert.True(t, ok)
		assert.Equal(t, want, got)
	}
	_, ok := parseDiskstats(text, 8, 0)
	assert.False(t, ok)
}

func TestParsePSS(t *testing.T) {
	assert.EqualValues(t, 1234, parsePSS([]byte("55d0-7ffc ---p 00000000 00:00 0  [rollup]\nRss:  2000 kB\nPss:  1234 kB\nPss_Anon:  9 kB\n")))
	assert.Zero(t, parsePSS(nil))
}

// A command's memory is that of its children, too.
func TestMeasureSeesChildren(t *testing.T) {
	// The child fills 64 MiB and holds them for longer than one sample.
	const script = `sh -c 'x=$(head -c 67108864 /dev/zero | tr "\0" a); sleep 0.5; test ${#x} -eq 67108864' && true`
	c, err := measure(t.Context(), exec.Command("sh", "-c", script), t.TempDir())
	require.NoError(t, err)
	assert.Greater(t, c.peak, 64.0)
	assert.Greater(t, c.seconds, 0.5)
	_, err = measure(t.Context(), exec.Command("sh", "-c", "echo reason >&2; exit 3"), t.TempDir())
	assert.ErrorContains(t, err, "exit status 3: reason")
}

func TestCostsAdd(t *testing.T) {
	sum := cost{1, 2, 300, 4}.and(cost{10, 20, 200, 40})
	assert.Equal(t, cost{11, 22, 300, 44}, sum)
	assert.Negative(t, cost{written: -1}.and(cost{written: 5}).written, "half of it is not the whole")
	var s costs
	s.add(cost{seconds: 1, written: -1})
	assert.Equal(t, costs{seconds: sample{1}, cpu: sample{0}, peak: sample{0}}, s)
}

func TestDataInSparseFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(file)
	require.NoError(t, err)
	const mib = 1 << 20
	require.NoError(t, f.Truncate(64*mib))
	for _, at := range []int64{8 * mib, 40 * mib} {
		_, err := f.WriteAt(make([]byte, mib), at)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	for _, test := range []struct{ start, size, want int64 }{
		{0, 64 * mib, 2 * mib}, {0, 8 * mib, 0}, {32 * mib, 32 * mib, mib}, {41 * mib, 8 * mib, 0},
	} {
		got, err := dataIn(file, test.start, test.size)
		require.NoError(t, err)
		assert.Equal(t, test.want, got, "%+v", test)
	}
}

func TestParseTargets(t *testing.T) {
	debian, security := parseTargets("DEP-11 Debian http://mirror.example/debian/\n" +
		"Packages Other http://other.example/debian/\n" +
		"Packages Debian http://mirror.example/debian-security/\nPackages Debian http://mirror.example/debian/\n")
	assert.Equal(t, "http://mirror.example/debian", debian)
	assert.Equal(t, "http://mirror.example/debian-security", security)
}
