package host

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhatIsMissingIsSaidAtOnce(t *testing.T) {
	none := func(string) bool { return false }
	assert.EqualError(t, check(forLock(), none), "this machine lacks go, apt-get, apt-cache, /usr/share/keyrings/debian-archive-keyring.gpg: "+
		"apt-get install golang-go apt debian-archive-keyring (where that is older than Go 1.26: https://go.dev/dl)")
	assert.EqualError(t, check(forBuild(), func(what string) bool { return what != "unshare" }),
		"this machine lacks unshare: apt-get install util-linux")
	assert.NoError(t, check(forBuild(), func(string) bool { return true }))
}

func TestHas(t *testing.T) {
	assert.True(t, has("/"))
	assert.False(t, has("/nowhere"))
	t.Setenv("PATH", t.TempDir())
	assert.False(t, has("sh"))
	assert.ErrorContains(t, CheckBuild(), "dpkg-deb")
	assert.ErrorContains(t, CheckLock(), "apt-get")
}
