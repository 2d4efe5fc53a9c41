package node_test

import (
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
)

// A node's token must never change: masters and nodes derive it apart.
func TestToken(t *testing.T) {
	key := func(text string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte(text)}))
	}
	token, err := node.Token(key("not a key"), "demo", "worker-1")
	require.NoError(t, err)
	assert.Equal(t, "b6xf4t.kvw2rcem6mn2ij4l", token)
	seen := map[string]bool{token: true}
	for _, other := range [][3]string{{"another", "demo", "worker-1"}, {"not a key", "demo2", "worker-1"}, {"not a key", "demo", "worker-2"}} {
		token, err := node.Token(key(other[0]), other[1], other[2])
		require.NoError(t, err)
		assert.Regexp(t, `^[a-z0-9]{6}\.[a-z0-9]{16}$`, token)
		assert.False(t, seen[token])
		seen[token] = true
	}
	_, err = node.Token("", "demo", "worker-1")
	assert.EqualError(t, err, "bootstrap token: the CA's key is not PEM")
}
