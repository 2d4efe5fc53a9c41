package packages

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseURIs(t *testing.T) {
	got, err := parseURIs("'http://mirror.example/debian/pool/main/a/a_1%2b2_amd64.deb' a_1+2_amd64.deb 42 SHA256:00\n")
	require.NoError(t, err)
	assert.Equal(t, []uri{{"http://mirror.example/debian/pool/main/a/a_1%2b2_amd64.deb", "a_1+2_amd64.deb", 42}}, got)

	_, err = parseURIs("Reading package lists...\n")
	assert.ErrorContains(t, err, "unexpected line")
}

func TestInArchive(t *testing.T) {
	list := []archive{{name: "debian", address: "http://m.example/debian"}, {name: "debian-security", address: "http://m.example/debian-security/"}}
	for address, want := range map[string][2]string{
		"http://m.example/debian/pool/a_1%7edeb.deb": {"debian", "pool/a_1~deb.deb"},
		// The longer name must not be taken for the shorter one's.
		"http://m.example/debian-security/pool/b.deb": {"debian-security", "pool/b.deb"},
	} {
		name, file := inArchive(list, address)
		assert.Equal(t, want, [2]string{name, file}, address)
	}
}

func TestFields(t *testing.T) {
	got := fields("Package: a\nDescription: one\n two: three\nVersion: 1:2\n")
	assert.Equal(t, map[string]string{"Package": "a", "Description": "one", "Version": "1:2"}, got)
}

func TestOtherFamiliesAreRefused(t *testing.T) {
	_, err := archives(t.Context(), Source{Name: "rocky-9", Family: "dnf"})
	assert.EqualError(t, err, "base rocky-9: not built yet: only bases of the family apt are")
}
