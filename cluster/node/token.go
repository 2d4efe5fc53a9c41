package node

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/pem"
	"errors"
	"strings"
)

// Token is the bootstrap token of a node of the cluster whose CA has the key,
// PEM: "id.secret", 6 and 16 letters (kubernetes.io, "Bootstrap Tokens").
//
// It is derived, not drawn: masters have the CA's key and so know the token of
// every node without being told one. Nobody can tell from a token the key or
// another node's token.
func Token(caKey, cluster, name string) (string, error) {
	block, _ := pem.Decode([]byte(caKey))
	if block == nil {
		return "", errors.New("bootstrap token: the CA's key is not PEM")
	}
	mac := hmac.New(sha256.New, block.Bytes)
	mac.Write([]byte("imgbuild/bootstrap-token/v1\x00" + cluster + "\x00" + name))
	// Base32 in lower case has only letters that a token may have.
	text := strings.ToLower(base32.StdEncoding.EncodeToString(mac.Sum(nil)))
	return text[:6] + "." + text[6:22], nil
}
