package cluster_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"imgbuild/cluster"
)

func TestBytes(t *testing.T) {
	for text, want := range map[string]cluster.Bytes{
		"4GiB": 4 << 30, "4G": 4 << 30, "4Gi": 4 << 30, "4GB": 4e9, "4 GiB": 4 << 30,
		"512M": 512 << 20, "1.5GiB": 3 << 29, "1TB": 1e12, "1T": 1 << 40,
		"4096": 4096, "4096B": 4096, "64K": 64 << 10,
	} {
		var b cluster.Bytes
		assert.NoError(t, b.UnmarshalText([]byte(text)), text)
		assert.Equal(t, want, b, text)
	}
	for _, text := range []string{"", "GiB", "-1GiB", "4gib", "4GiBs", "1e3", "0x10", "9000000TiB", "1.2.3G", "4 4G", "٤GiB"} {
		var b cluster.Bytes
		assert.ErrorContains(t, b.UnmarshalText([]byte(text)), "expected an amount", text)
	}
}

func TestBytesAreWrittenAsTheyAreRead(t *testing.T) {
	for b, want := range map[cluster.Bytes]string{4 << 30: "4GiB", 10e9: "10GB", 1e12: "1TB", 1500: "1500", 0: "0", 3 << 29: "1536MiB"} {
		text, err := b.MarshalText()
		assert.NoError(t, err)
		assert.Equal(t, want, string(text))
		var back cluster.Bytes
		assert.NoError(t, back.UnmarshalText(text))
		assert.Equal(t, b, back)
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"10m": 10 * time.Minute, "90s": 90 * time.Second, "1h": time.Hour} {
		var d cluster.Duration
		assert.NoError(t, d.UnmarshalText([]byte(text)))
		assert.Equal(t, want, time.Duration(d))
	}
	assert.Equal(t, "10m", cluster.Duration(10*time.Minute).String())
	assert.Equal(t, "1h", cluster.Duration(time.Hour).String())
	assert.Equal(t, "1m30s", cluster.Duration(90*time.Second).String())
	assert.Equal(t, "0s", cluster.Duration(0).String())
	var d cluster.Duration
	assert.ErrorContains(t, d.UnmarshalText([]byte("600")), "such as 90s")
}
