package ignition

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// Store keeps the secrets of one cluster in one age-encrypted file. Their clear
// text is never written anywhere.
type Store struct {
	// File is the encrypted file, see SecretsFile.
	File string
	// Identity is the file with the age key, see DefaultIdentity.
	Identity string
	// Log is told when an identity is made; nil for nobody.
	Log *slog.Logger
}

// SecretsFile is where the secrets of a cluster are: beside its cluster.yaml.
func SecretsFile(clusterFile, clusterName string) string {
	return filepath.Join(filepath.Dir(clusterFile), clusterName+".secrets.age")
}

// Open decrypts and checks the secrets. The error is fs.ErrNotExist where none
// were made yet.
func (s Store) Open(ctx context.Context) (Secrets, error) {
	if err := ctx.Err(); err != nil {
		return Secrets{}, fmt.Errorf("open %s: %w", s.File, err)
	}
	data, err := os.ReadFile(s.File)
	if errors.Is(err, fs.ErrNotExist) {
		return Secrets{}, fmt.Errorf("%w: make the secrets with `imgbuild secrets`", err)
	}
	if err != nil {
		return Secrets{}, fmt.Errorf("read the secrets: %w", err)
	}
	keys, err := readIdentity(s.Identity)
	if errors.Is(err, fs.ErrNotExist) {
		// Not fs.ErrNotExist: these secrets exist, and must not be made anew.
		return Secrets{}, fmt.Errorf("%s cannot be decrypted: there is no age identity %s: put the one that made it there, or name it with %s; %s",
			s.File, s.Identity, identityVariable, lost)
	}
	if err != nil {
		return Secrets{}, err
	}
	return s.decrypt(data, keys)
}

// lost is what remains to be done where no identity fits.
const lost = "if it is lost, `imgbuild secrets --rotate` makes new secrets, which machines that run do not know"

func (s Store) decrypt(data []byte, keys identities) (Secrets, error) {
	clear, err := decrypt(data, keys)
	wrong := new(age.NoIdentityMatchError)
	switch {
	case errors.As(err, &wrong):
		return Secrets{}, fmt.Errorf("%s is encrypted for another age identity than %s: name the right one with %s; %s",
			s.File, s.Identity, identityVariable, lost)
	case err != nil:
		return Secrets{}, s.damaged(err)
	}
	var secrets Secrets
	decoder := json.NewDecoder(bytes.NewReader(clear))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&secrets); err != nil {
		return Secrets{}, s.damaged(err)
	}
	if err := secrets.check(); err != nil {
		return Secrets{}, s.damaged(err)
	}
	return secrets, nil
}

func (s Store) damaged(err error) error {
	return fmt.Errorf("%s is damaged: %w: restore it from a backup, such as version control or a *.bak-N beside it", s.File, err)
}

// decrypt accepts age's text and binary forms: `age -r` writes the latter.
func decrypt(data []byte, keys identities) ([]byte, error) {
	var in io.Reader = bytes.NewReader(data)
	if bytes.HasPrefix(data, []byte(armor.Header)) {
		in = armor.NewReader(in)
	}
	out, err := age.Decrypt(in, keys.all()...)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(out)
}

// OpenOrCreate is Open, but makes the secrets of the named cluster, and an
// identity, where there are none.
func (s Store) OpenOrCreate(ctx context.Context, clusterName string) (secrets Secrets, created bool, err error) {
	secrets, err = s.open(ctx, clusterName)
	if !errors.Is(err, fs.ErrNotExist) {
		return secrets, false, err
	}
	secrets, err = s.create(ctx, clusterName, nil, os.Link)
	if errors.Is(err, fs.ErrExist) {
		// Another process was faster: its secrets are the cluster's.
		secrets, err = s.open(ctx, clusterName)
		return secrets, false, err
	}
	return secrets, err == nil, err
}

// Set keeps one of ExternalSecrets, in the place of the one before it.
func (s Store) Set(ctx context.Context, clusterName, name string, secret Key) (Secrets, error) {
	if !slices.Contains(ExternalSecrets(), name) {
		return Secrets{}, fmt.Errorf("no secret is named %s: expected one of %s", name, strings.Join(ExternalSecrets(), ", "))
	}
	if err := checkExternal(secret); err != nil {
		return Secrets{}, fmt.Errorf("secret %s: %w", name, err)
	}
	secrets, _, err := s.OpenOrCreate(ctx, clusterName)
	if err != nil {
		return Secrets{}, err
	}
	if secrets.External == nil {
		secrets.External = map[string]Key{}
	}
	secrets.External[name] = secret
	keys, err := readIdentity(s.Identity)
	if err != nil {
		return Secrets{}, err
	}
	return secrets, s.publish(ctx, secrets, keys, os.Rename)
}

// Rotate replaces all secrets of ours with new ones; those that we were given
// stay, where the old file can still be decrypted. It is kept as backup, which is
// empty where there was none.
func (s Store) Rotate(ctx context.Context, clusterName string) (secrets Secrets, backup string, err error) {
	old, _ := s.open(ctx, clusterName)
	secrets, err = s.create(ctx, clusterName, old.External, func(tmp, path string) error {
		if backup, err = keep(path); err != nil {
			return err
		}
		return os.Rename(tmp, path)
	})
	return secrets, backup, err
}

// keep gives the file at path a second name that is free.
func keep(path string) (string, error) {
	for n := 1; ; n++ {
		backup := fmt.Sprintf("%s.bak-%d", path, n)
		err := os.Link(path, backup)
		switch {
		case err == nil:
			return backup, nil
		case errors.Is(err, fs.ErrNotExist):
			return "", nil
		case !errors.Is(err, fs.ErrExist):
			return "", fmt.Errorf("keep the old secrets: %w", err)
		}
	}
}

func (s Store) open(ctx context.Context, clusterName string) (Secrets, error) {
	secrets, err := s.Open(ctx)
	if err == nil && secrets.Cluster != clusterName {
		return Secrets{}, fmt.Errorf("%s holds the secrets of cluster %s, not of %s: move it away, or correct the name in cluster.yaml",
			s.File, secrets.Cluster, clusterName)
	}
	return secrets, err
}

func (s Store) create(ctx context.Context, clusterName string, external map[string]Key, put func(tmp, path string) error) (Secrets, error) {
	secrets, err := newSecrets(clusterName, time.Now())
	if err != nil {
		return Secrets{}, fmt.Errorf("make the secrets of cluster %s: %w", clusterName, err)
	}
	secrets.External = external
	keys, made, err := readOrMakeIdentity(ctx, s.Identity)
	if err != nil {
		return Secrets{}, err
	}
	if made && s.Log != nil {
		s.Log.Info("made an age identity: keep a copy of it, nothing else decrypts the secrets", "file", s.Identity)
	}
	if err := s.publish(ctx, secrets, keys, put); err != nil {
		return Secrets{}, err
	}
	return secrets, nil
}

// publish puts the encrypted secrets into the place of the file.
func (s Store) publish(ctx context.Context, secrets Secrets, keys identities, put func(tmp, path string) error) error {
	data, err := encrypt(secrets, keys)
	if err != nil {
		return fmt.Errorf("encrypt %s: %w", s.File, err)
	}
	return publish(ctx, s.File, data, put)
}

// encrypt writes age's text form, which version control and mail leave alone.
func encrypt(secrets Secrets, keys identities) ([]byte, error) {
	var out bytes.Buffer
	text := armor.NewWriter(&out)
	w, err := age.Encrypt(text, keys.recipients()...)
	if err != nil {
		return nil, err
	}
	if err := json.NewEncoder(w).Encode(secrets); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := text.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
