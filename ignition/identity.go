package ignition

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
)

// identityVariable names the file of the age identity.
const identityVariable = "IMGBUILD_AGE_IDENTITY"

// DefaultIdentity is the path of the age identity: $IMGBUILD_AGE_IDENTITY, else
// ~/.config/imgbuild/identity.txt.
func DefaultIdentity(getenv func(string) string) (string, error) {
	if file := getenv(identityVariable); file != "" {
		return filepath.Abs(file)
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".config", "imgbuild", "identity.txt"), nil
	}
	return "", fmt.Errorf("no place for the age identity: set %s or HOME", identityVariable)
}

// identities are the keys in a file as age-keygen writes it.
type identities []*age.X25519Identity

// readIdentity reads the file; the error is fs.ErrNotExist where there is none.
func readIdentity(path string) (identities, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("age identity: %w", err)
	}
	defer f.Close()
	parsed, err := age.ParseIdentities(f)
	if err != nil {
		// The parser's error may repeat a line of the file.
		return nil, fmt.Errorf("age identity %s: expected lines that start with AGE-SECRET-KEY-1, as age-keygen writes them", path)
	}
	var list identities
	for _, one := range parsed {
		key, ok := one.(*age.X25519Identity)
		if !ok {
			return nil, fmt.Errorf("age identity %s: only X25519 keys (AGE-SECRET-KEY-1…) are supported", path)
		}
		list = append(list, key)
	}
	return list, nil
}

// readOrMakeIdentity makes the file where there is none.
func readOrMakeIdentity(ctx context.Context, path string) (list identities, made bool, err error) {
	list, err = readIdentity(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return list, false, err
	}
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, false, fmt.Errorf("make an age identity: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, false, fmt.Errorf("make an age identity: %w", err)
	}
	text := fmt.Sprintf("# created: %s\n# public key: %s\n%s\n", time.Now().Format(time.RFC3339), key.Recipient(), key)
	err = publish(ctx, path, []byte(text), os.Link)
	if errors.Is(err, fs.ErrExist) {
		// Another process was faster.
		list, err = readIdentity(path)
		return list, false, err
	}
	if err != nil {
		return nil, false, fmt.Errorf("make an age identity: %w", err)
	}
	return identities{key}, true, nil
}

func (list identities) all() []age.Identity {
	var out []age.Identity
	for _, key := range list {
		out = append(out, key)
	}
	return out
}

func (list identities) recipients() []age.Recipient {
	var out []age.Recipient
	for _, key := range list {
		out = append(out, key.Recipient())
	}
	return out
}
