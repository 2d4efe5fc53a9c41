package firstboot

import (
	"encoding/base64"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDecideToken(t *testing.T) {
	now := testStart()
	for _, c := range []struct {
		name          string
		expires       time.Time
		ready         bool
		renew, remove bool
	}{
		{"no token, no node", time.Time{}, false, true, false},
		{"no token, node ready", time.Time{}, true, false, false},
		{"fresh token", now.Add(time.Hour), false, false, false},
		{"token near its end", now.Add(39 * time.Minute), false, true, false},
		{"expired token", now.Add(-time.Minute), false, true, false},
		{"token of a node that is ready", now.Add(time.Hour), true, false, true},
		{"expired token of a node that is ready", now.Add(-time.Hour), true, false, true},
	} {
		renew, remove := decideToken(c.expires, now, c.ready)
		assert.Equal(t, [2]bool{c.renew, c.remove}, [2]bool{renew, remove}, c.name)
	}
}

// tokenTest is a master after its join, with one worker that has not joined.
func tokenTest(t *testing.T) (f *fake, c *fakeCluster, secret string) {
	f, c = newHA(t, "master-1", "stacked")
	f.joinFiles()
	c.start()
	return f, c, tokenSecrets + "/" + tokenPrefix + workerToken(t, f)[:6]
}

func TestATokenIsMadeRenewedAndRemoved(t *testing.T) {
	f, c, path := tokenTest(t)
	m := f.machine()
	done, err := m.tokensDone(t.Context())
	require.NoError(t, err)
	assert.False(t, done)
	require.NoError(t, m.updateTokens(t.Context()))
	require.Contains(t, c.objects, path)
	data := c.objects[path]["data"].(object)
	text := func(key string) string {
		b, err := base64.StdEncoding.DecodeString(data[key].(string))
		require.NoError(t, err)
		return string(b)
	}
	assert.Equal(t, workerToken(t, f), text("token-id")+"."+text("token-secret"))
	assert.Equal(t, f.now.Add(time.Hour).UTC().Format(time.RFC3339), text("expiration"))
	assert.Equal(t, "true", text("usage-bootstrap-signing"))
	assert.Equal(t, "true", text("usage-bootstrap-authentication"))
	assert.Equal(t, "system:bootstrappers:kubeadm:default-node-token", text("auth-extra-groups"))
	assert.Equal(t, "bootstrap.kubernetes.io/token", c.objects[path]["type"])
	done, err = m.tokensDone(t.Context())
	require.NoError(t, err)
	assert.True(t, done)

	f.advance(25 * time.Minute)
	require.NoError(t, m.updateTokens(t.Context()))
	data = c.objects[path]["data"].(object)
	assert.Equal(t, f.now.Add(time.Hour).UTC().Format(time.RFC3339), text("expiration"))

	c.nodeObject("worker-1", "False", "w", object{})
	require.NoError(t, m.updateTokens(t.Context()))
	assert.Contains(t, c.objects, path, "a node that is not ready may have to join again")
	c.nodeObject("worker-1", "True", "w", object{})
	require.NoError(t, m.updateTokens(t.Context()))
	assert.NotContains(t, c.objects, path)
	assert.NotContains(t, f.journal.String()+f.console.String(), workerToken(t, f)[7:], "no secret is said")
}

func TestTheTimersRoundNeedsNoAgent(t *testing.T) {
	f, c, path := tokenTest(t)
	f.file(StatusPath, "of the agent")
	require.NoError(t, Tokens(t.Context(), f.host))
	assert.Contains(t, c.objects, path)
	requests := len(c.requests)
	require.NoError(t, Tokens(t.Context(), f.host))
	for _, r := range c.requests[requests:] {
		assert.True(t, strings.HasPrefix(r, http.MethodGet), "nothing is to be done: %s", r)
	}
	assert.Contains(t, f.journal.String(), "imgbuild: token of worker-1 renewed\n")
	assert.Empty(t, f.console.String(), "the console is the agent's")
	kept, err := os.ReadFile(f.host.path(StatusPath))
	require.NoError(t, err)
	assert.Equal(t, "of the agent", string(kept))
}

func TestAMasterThatHasNotJoinedKeepsNoTokens(t *testing.T) {
	f, c := newHA(t, "master-2", "stacked")
	require.NoError(t, Tokens(t.Context(), f.host))
	assert.Empty(t, c.requests)
	assert.Contains(t, f.journal.String(), "has not joined yet")
}
