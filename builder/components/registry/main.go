//go:build ignore

// Command registry is the CNCF distribution registry with storage on a file
// system, and an access control under which everybody may pull, and who knows
// the password may do everything.
package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/distribution/distribution/v3/registry"
	"github.com/distribution/distribution/v3/registry/auth"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	err := auth.Register("password", newPassword)
	if err == nil {
		err = registry.RootCmd.Execute()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

// password knows one user. Its password is random and long, so that a plain hash
// of it gives it away to nobody.
type password struct {
	user string
	sum  []byte
}

// newPassword takes the options user and sha256: the hex SHA-256 of the password.
func newPassword(options map[string]any) (auth.AccessController, error) {
	user, _ := options["user"].(string)
	text, _ := options["sha256"].(string)
	sum, err := hex.DecodeString(text)
	if err != nil || user == "" || len(sum) != sha256.Size {
		return nil, errors.New("auth.password: want user, and sha256 with 64 hex digits")
	}
	return &password{user, sum}, nil
}

// Authorized lets everybody pull. A password that is wrong is refused even there:
// who gives one wants to know.
func (p *password) Authorized(r *http.Request, wanted ...auth.Access) (*auth.Grant, error) {
	user, given, has := r.BasicAuth()
	if has {
		sum := sha256.Sum256([]byte(given))
		if user != p.user || subtle.ConstantTimeCompare(sum[:], p.sum) != 1 {
			return nil, challenge{auth.ErrAuthenticationFailure}
		}
		return &auth.Grant{User: auth.UserInfo{Name: user}}, nil
	}
	// Clients learn at /v2/, where they want nothing yet, that there is a password
	// to be given; those that have none go on without.
	if len(wanted) == 0 {
		return nil, challenge{auth.ErrInvalidCredential}
	}
	for _, a := range wanted {
		if a.Type != "repository" || a.Action != "pull" {
			return nil, challenge{auth.ErrInvalidCredential}
		}
	}
	return &auth.Grant{}, nil
}

// challenge asks for the password.
type challenge struct{ error }

// SetHeaders is RFC 7617's.
func (challenge) SetHeaders(_ *http.Request, w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
}
