package ignition

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func testStore(t *testing.T) Store {
	t.Helper()
	dir := t.TempDir()
	return Store{
		File:     SecretsFile(filepath.Join(dir, "cluster.yaml"), "demo"),
		Identity: filepath.Join(dir, "config", "identity.txt"),
	}
}

// files lists what is below the store's directory, and fails where one of them
// holds a key in the clear.
func files(t *testing.T, s Store) []string {
	t.Helper()
	dir := filepath.Dir(s.File)
	var list []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		assert.NotContains(t, string(data), "PRIVATE KEY", path)
		info, _ := d.Info()
		assert.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), path)
		name, _ := filepath.Rel(dir, path)
		list = append(list, name)
		return err
	}))
	return list
}

func TestSecretsAreMadeOnceAndEncrypted(t *testing.T) {
	s := testStore(t)
	var log bytes.Buffer
	s.Log = slog.New(slog.NewTextHandler(&log, nil))

	_, err := s.Open(t.Context())
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, "make the secrets with `imgbuild secrets`")

	first, created, err := s.OpenOrCreate(t.Context(), "demo")
	require.NoError(t, err)
	assert.True(t, created)
	assert.Equal(t, []string{"config/identity.txt", "demo.secrets.age"}, files(t, s))
	assert.Equal(t, 1, strings.Count(log.String(), "made an age identity"))
	assert.NotContains(t, log.String(), "AGE-SECRET-KEY")

	again, created, err := s.OpenOrCreate(t.Context(), "demo")
	require.NoError(t, err)
	assert.False(t, created)
	assert.Equal(t, first, again)
	opened, err := s.Open(t.Context())
	require.NoError(t, err)
	assert.Equal(t, first, opened)
	assert.Equal(t, 1, strings.Count(log.String(), "\n"))
}

// Two commands that start at once work with the same secrets.
func TestSecretsAreMadeOnceByManyProcesses(t *testing.T) {
	s := testStore(t)
	const many = 8
	results, errs := make([]Secrets, many), make([]error, many)
	var group sync.WaitGroup
	for i := range many {
		group.Go(func() { results[i], _, errs[i] = s.OpenOrCreate(context.Background(), "demo") })
	}
	group.Wait()
	for i := range many {
		require.NoError(t, errs[i])
		assert.Equal(t, results[0], results[i])
	}
	assert.Len(t, files(t, s), 2, "no temporary file stays")
}

func TestRotateKeepsTheOldFiles(t *testing.T) {
	s := testStore(t)
	_, backup, err := s.Rotate(t.Context(), "demo")
	require.NoError(t, err)
	assert.Empty(t, backup, "there was nothing to keep")
	old, err := s.Open(t.Context())
	require.NoError(t, err)

	fresh, backup, err := s.Rotate(t.Context(), "demo")
	require.NoError(t, err)
	assert.Equal(t, s.File+".bak-1", backup)
	assert.NotEqual(t, old.CA.Certificate, fresh.CA.Certificate)
	kept, err := Store{File: backup, Identity: s.Identity}.Open(t.Context())
	require.NoError(t, err)
	assert.Equal(t, old, kept)

	_, backup, err = s.Rotate(t.Context(), "demo")
	require.NoError(t, err)
	assert.Equal(t, s.File+".bak-2", backup)
	assert.Len(t, files(t, s), 4)
}

func TestSecretsThatCannotBeReadAreNeverMadeAnew(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(t *testing.T, s *Store)
		want  string
	}{
		"no identity": {
			func(t *testing.T, s *Store) { require.NoError(t, os.Remove(s.Identity)) },
			"demo.secrets.age cannot be decrypted: there is no age identity ",
		},
		"another identity": {
			func(t *testing.T, s *Store) {
				s.Identity += ".other"
				_, _, err := readOrMakeIdentity(t.Context(), s.Identity)
				require.NoError(t, err)
			},
			"demo.secrets.age is encrypted for another age identity than ",
		},
		"not an identity": {
			func(t *testing.T, s *Store) {
				require.NoError(t, os.WriteFile(s.Identity, []byte("AGE-SECRET-KEY-1QQ\n"), 0o600))
			},
			"identity.txt: expected lines that start with AGE-SECRET-KEY-1, as age-keygen writes them",
		},
		"truncated": {
			func(t *testing.T, s *Store) { require.NoError(t, os.Truncate(s.File, 300)) },
			"demo.secrets.age is damaged: ",
		},
		"empty": {
			func(t *testing.T, s *Store) { require.NoError(t, os.Truncate(s.File, 0)) },
			"restore it from a backup",
		},
		"one letter": {
			func(t *testing.T, s *Store) {
				data, err := os.ReadFile(s.File)
				require.NoError(t, err)
				at := len(data) / 2
				data[at] ^= 'A' ^ 'a'
				require.NoError(t, os.WriteFile(s.File, data, 0o600))
			},
			"demo.secrets.age is damaged: ",
		},
		"not what it should hold": {
			func(t *testing.T, s *Store) { encryptTo(t, *s, []byte(`{"password": "x"}`)) },
			"demo.secrets.age is damaged: ",
		},
		"another cluster": {
			func(t *testing.T, s *Store) {
				_, _, err := s.Rotate(t.Context(), "other")
				require.NoError(t, err)
			},
			"holds the secrets of cluster other, not of demo",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := testStore(t)
			_, _, err := s.OpenOrCreate(t.Context(), "demo")
			require.NoError(t, err)
			test.spoil(t, &s)
			before, err := os.ReadFile(s.File)
			require.NoError(t, err)

			secrets, created, err := s.OpenOrCreate(t.Context(), "demo")
			require.ErrorContains(t, err, test.want)
			assert.NotContains(t, err.Error(), "AGE-SECRET-KEY-1Q")
			assert.False(t, created)
			assert.Zero(t, secrets)
			after, err := os.ReadFile(s.File)
			require.NoError(t, err)
			assert.Equal(t, before, after)
		})
	}
}

// encryptTo replaces the store's file, in the binary form that `age -r` writes.
func encryptTo(t *testing.T, s Store, clear []byte) {
	t.Helper()
	keys, err := readIdentity(s.Identity)
	require.NoError(t, err)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, keys.recipients()...)
	require.NoError(t, err)
	_, err = w.Write(clear)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, os.WriteFile(s.File, out.Bytes(), 0o600))
}

// Who changes the identity with age's own tools writes its binary form.
func TestOpenReadsTheBinaryFormToo(t *testing.T) {
	s := testStore(t)
	want, _, err := s.OpenOrCreate(t.Context(), "demo")
	require.NoError(t, err)
	data, err := os.ReadFile(s.File)
	require.NoError(t, err)
	keys, err := readIdentity(s.Identity)
	require.NoError(t, err)
	clear, err := decrypt(data, keys)
	require.NoError(t, err)
	encryptTo(t, s, clear)
	got, err := s.Open(t.Context())
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestNothingIsWrittenAfterCancel(t *testing.T) {
	s := testStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, created, err := s.OpenOrCreate(ctx, "demo")
	assert.ErrorIs(t, err, context.Canceled)
	assert.False(t, created)
	_, _, err = s.Rotate(ctx, "demo")
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, WriteFile(ctx, s.File, nil), context.Canceled)
	assert.Empty(t, files(t, s))
}

func TestDefaultIdentity(t *testing.T) {
	env := func(values map[string]string) func(string) string {
		return func(name string) string { return values[name] }
	}
	file, err := DefaultIdentity(env(map[string]string{"HOME": "/home/me"}))
	assert.NoError(t, err)
	assert.Equal(t, "/home/me/.config/imgbuild/identity.txt", file)
	file, err = DefaultIdentity(env(map[string]string{"HOME": "/home/me", "IMGBUILD_AGE_IDENTITY": "/keys/id"}))
	assert.NoError(t, err)
	assert.Equal(t, "/keys/id", file)
	_, err = DefaultIdentity(env(nil))
	assert.ErrorContains(t, err, "set IMGBUILD_AGE_IDENTITY or HOME")
}
