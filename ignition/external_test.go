package ignition

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
)

// externalForTest are passwords as people choose them.
func externalForTest() map[string]Key {
	return map[string]Key{"registry-database": `test "database" \ 1`, "registry-redis": "test@redis:2", "registry-s3": "test/s3+3"}
}

func TestAServiceWithoutAPasswordIsNamed(t *testing.T) {
	c, s := load(t, "harbors"), testSecrets(t)
	n, _ := c.Node("harbor-1")
	_, err := Render(c, n, s)
	require.ErrorContains(t, err, "registry.external.database has no password yet: imgbuild secrets --set registry-database takes it")
	s.External = externalForTest()
	_, err = Render(c, n, s)
	require.NoError(t, err)
	delete(s.External, "registry-s3")
	_, err = Render(c, n, s)
	require.ErrorContains(t, err, "registry-s3")
	master, _ := c.Node("master-1")
	_, err = Render(c, master, s)
	require.NoError(t, err, "nobody else needs it")
}

func TestWhatANodeIsToldOfServicesElsewhere(t *testing.T) {
	c, s := load(t, "harbors"), testSecrets(t)
	s.External = externalForTest()
	described, err := node.Decode([]byte(written(t, render(t, c, "harbor-2", s))[node.Path]))
	require.NoError(t, err)
	assert.Equal(t, &node.Registry{
		Kind: "harbor", Host: "registry.example.com", Port: 443,
		Database: &node.Database{Host: "pg.example.com", Port: 5432, Name: "registry", User: "harbor", SSLMode: "verify-full"},
		Redis:    &node.Redis{Host: "redis.example.com", Port: 6380, User: "harbor", TLS: true},
		S3:       &node.S3{Bucket: "images", Region: "eu-central-1", Endpoint: "https://s3.example.com", AccessKey: "TESTKEY", Folder: "harbor"},
	}, described.Registry)
}

func TestSecretsThatAreGiven(t *testing.T) {
	s := testStore(t)
	first, _, err := s.OpenOrCreate(t.Context(), "demo")
	require.NoError(t, err)
	for name, secret := range externalForTest() {
		_, err := s.Set(t.Context(), "demo", name, secret)
		require.NoError(t, err)
	}
	now, err := s.Open(t.Context())
	require.NoError(t, err)
	assert.Equal(t, externalForTest(), now.External)
	assert.Equal(t, first.CA, now.CA, "nothing else changes")
	assert.Len(t, files(t, s), 2, "no temporary file stays")
	items, err := now.Items()
	require.NoError(t, err)
	assert.Equal(t, Item{Name: "registry-s3", Kind: "password"}, items[len(items)-1])
	for _, secret := range externalForTest() {
		assert.NotContains(t, fmt.Sprintf("%v %+v %#v %s", now, now, now.External, items), string(secret))
	}

	fresh, _, err := s.Rotate(t.Context(), "demo")
	require.NoError(t, err)
	assert.NotEqual(t, first.CA.Certificate, fresh.CA.Certificate)
	assert.Equal(t, externalForTest(), fresh.External, "what is not ours is not made anew")

	for _, bad := range []Key{"", "two\nlines", "pässword"} {
		_, err := s.Set(t.Context(), "demo", "registry-s3", bad)
		assert.ErrorContains(t, err, "secret registry-s3: expected one line")
	}
	_, err = s.Set(t.Context(), "demo", "registry-cache", "x")
	assert.ErrorContains(t, err, "expected one of registry-database, registry-redis, registry-s3")
}
