package ignition

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"imgbuild/cluster/node"
)

// The Secret is for the very token that the node was given.
func TestTokenManifest(t *testing.T) {
	c, s := load(t, "everything"), testSecrets(t)
	n, _ := c.Node("worker-1")
	out, err := TokenManifest(c, n, s, made().Add(48*time.Hour).In(time.FixedZone("CET", 3600)))
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, yaml.Unmarshal(out, &got))
	data := got["stringData"].(map[string]any)
	given := written(t, render(t, c, "worker-1", s))[node.TokenPath]
	assert.Equal(t, given, data["token-id"].(string)+"."+data["token-secret"].(string)+"\n")
	assert.Equal(t, map[string]any{
		"apiVersion": "v1",
		"kind":       "Secret",
		"type":       "bootstrap.kubernetes.io/token",
		"metadata":   map[string]any{"name": "bootstrap-token-" + given[:6], "namespace": "kube-system"},
		"stringData": map[string]any{
			"description":                    "the token of node worker-1",
			"token-id":                       given[:6],
			"token-secret":                   given[7:23],
			"expiration":                     "2026-01-04T15:04:05Z",
			"usage-bootstrap-signing":        "true",
			"usage-bootstrap-authentication": "true",
			"auth-extra-groups":              "system:bootstrappers:kubeadm:default-node-token",
		},
	}, got)

	_, err = TokenManifest(c, n, Secrets{}, made())
	assert.EqualError(t, err, "make the token of worker-1: bootstrap token: the CA's key is not PEM")
}
