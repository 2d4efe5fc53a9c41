package firstboot

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"time"

	"imgbuild/cluster/node"
)

// Nodes that are no masters join with a bootstrap token of their own, which any
// master can derive. Its Secret is what makes it work, and it is there only
// while the node is not: short-lived, renewed until the node is Ready.
const (
	tokenSecrets = "/api/v1/namespaces/kube-system/secrets"
	tokenPrefix  = "bootstrap-token-"
	tokenType    = "bootstrap.kubernetes.io/token"
	// tokenLife is how long a token works; one that works for less than
	// tokenRest is renewed. imgbuild-tokens.timer comes more often than their
	// difference.
	tokenLife = time.Hour
	tokenRest = 40 * time.Minute
)

// tokenChange is what has to be done about one node's token.
type tokenChange struct {
	node, token string
	remove      bool
}

func (c tokenChange) secret() string { return tokenPrefix + c.token[:6] }

// decideToken says what has to be done: nothing, or to make (or renew) the
// token, or to remove it. expires is zero where there is none.
func decideToken(expires, now time.Time, nodeReady bool) (renew, remove bool) {
	if nodeReady {
		return false, !expires.IsZero()
	}
	return expires.Sub(now) < tokenRest, false
}

// tokenChanges compares the tokens that there are with the nodes.
func (m *machine) tokenChanges(ctx context.Context, client *api) ([]tokenChange, error) {
	nodes, err := listNodes(ctx, client)
	if err != nil {
		return nil, err
	}
	joined := map[string]bool{}
	for _, n := range nodes {
		joined[n.Metadata.Name], _ = ready(n.Status.Conditions)
	}
	expires, err := tokenExpiries(ctx, client)
	if err != nil {
		return nil, err
	}
	caKey, err := m.host.read(pki + "/ca.key")
	if err != nil {
		return nil, fmt.Errorf("%s/ca.key: %w", pki, reason(err))
	}
	var changes []tokenChange
	for _, name := range m.node.Joining {
		token, err := node.Token(string(caKey), m.node.Cluster, name)
		if err != nil {
			return nil, err
		}
		c := tokenChange{node: name, token: token}
		renew, remove := decideToken(expires[c.secret()], m.host.Now(), joined[name])
		if c.remove = remove; renew || remove {
			changes = append(changes, c)
		}
	}
	return changes, nil
}

// listNodes are all nodes of the cluster.
func listNodes(ctx context.Context, client *api) ([]nodeObject, error) {
	var list struct {
		Items []nodeObject `json:"items"`
	}
	return list.Items, client.get(ctx, "/api/v1/nodes", &list)
}

// tokenExpiries maps the Secrets of bootstrap tokens to when they end. One that
// never ends, or says nonsense, counts as ended: it is none of ours.
func tokenExpiries(ctx context.Context, client *api) (map[string]time.Time, error) {
	var list struct {
		Items []struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
			Data struct {
				Expiration []byte `json:"expiration"`
			} `json:"data"`
		} `json:"items"`
	}
	query := url.Values{"fieldSelector": {"type=" + tokenType}}
	if err := client.get(ctx, tokenSecrets+"?"+query.Encode(), &list); err != nil {
		return nil, err
	}
	ends := map[string]time.Time{}
	for _, s := range list.Items {
		at, err := time.Parse(time.RFC3339, string(s.Data.Expiration))
		if err != nil {
			at = time.Unix(0, 0)
		}
		ends[s.Metadata.Name] = at
	}
	return ends, nil
}

func (m *machine) tokensDone(ctx context.Context) (bool, error) {
	client, err := m.client()
	if err != nil {
		return false, err
	}
	changes, err := m.tokenChanges(ctx, client)
	return len(changes) == 0, err
}

// updateTokens may run on several masters at once: they all write the same.
func (m *machine) updateTokens(ctx context.Context) error {
	client, err := m.client()
	if err != nil {
		return err
	}
	changes, err := m.tokenChanges(ctx, client)
	if err != nil {
		return err
	}
	for _, c := range changes {
		path, done := tokenSecrets+"/"+c.secret(), "renewed"
		if c.remove {
			done = "removed: the node is ready"
			if err = client.delete(ctx, path); notFound(err) {
				err = nil
			}
		} else {
			err = client.apply(ctx, path, tokenSecret(c, m.host.Now().Add(tokenLife)))
		}
		if err != nil {
			return fmt.Errorf("token of %s: %w", c.node, err)
		}
		m.console.log("imgbuild: token of " + c.node + " " + done)
	}
	return nil
}

// tokenSecret: kubernetes.io, "Authenticating with Bootstrap Tokens".
func tokenSecret(c tokenChange, expires time.Time) object {
	data := object{}
	for key, value := range map[string]string{
		"description":                    "imgbuild: for node " + c.node,
		"token-id":                       c.token[:6],
		"token-secret":                   c.token[7:],
		"expiration":                     expires.UTC().Format(time.RFC3339),
		"usage-bootstrap-authentication": "true",
		"usage-bootstrap-signing":        "true",
		"auth-extra-groups":              "system:bootstrappers:kubeadm:default-node-token",
	} {
		data[key] = []byte(value)
	}
	return object{
		"apiVersion": "v1",
		"kind":       "Secret",
		"type":       tokenType,
		"metadata":   object{"name": c.secret(), "namespace": "kube-system"},
		"data":       data,
	}
}

// Tokens is one round of what keeps the tokens of nodes that have not joined
// yet: they may be turned on days after the masters. systemd runs it on every
// master, again and again.
func Tokens(ctx context.Context, h *Host) error {
	lines := &console{journal: h.Out, device: io.Discard, uptime: h.uptime}
	m := &machine{host: h, console: lines, report: &report{host: h, console: lines}}
	if err := m.readIdentity(); err != nil {
		return err
	}
	if m.node.Role != roleMaster || len(m.node.Joining) == 0 {
		return nil
	}
	if !h.exists(adminConf) {
		lines.log("imgbuild: this master has not joined yet: another one keeps the tokens")
		return nil
	}
	return m.updateTokens(ctx)
}
