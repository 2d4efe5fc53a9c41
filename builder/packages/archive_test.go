package packages

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheHostsMirrorIsUsed(t *testing.T) {
	list := []archive{{name: "debian", address: "http://default.example/debian"}, {name: "debian-security", address: "http://default.example/debian-security"}}
	useHost(list, "DEP-11 Debian http://wrong.example/debian/\n"+
		"Packages Docker http://other.example/linux/debian/\n"+
		"Packages Debian http://near.example/debian/\n"+
		"Packages Debian http://far.example/debian/\n"+
		"Packages  http://unsigned.example/debian-security/\n")
	assert.Equal(t, "http://near.example/debian", list[0].address)
	assert.Equal(t, "http://default.example/debian-security", list[1].address)
}

func TestAMirrorHasSecurityUpdatesToo(t *testing.T) {
	for mirror, want := range map[string][2]string{
		"http://m.example/debian/": {"http://m.example/debian", "http://m.example/debian-security"},
		"http://m.example/a":       {"http://m.example/a", "http://m.example/a/debian-security"},
	} {
		list, err := archives(t.Context(), Source{Name: "debian-13", Family: "apt", Suite: "trixie", Mirror: mirror})
		require.NoError(t, err)
		assert.Equal(t, want, [2]string{list[0].address, list[1].address}, mirror)
		assert.Equal(t, []string{"trixie-security"}, list[1].suites)
	}
}
