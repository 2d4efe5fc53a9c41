package ignition

import (
	"fmt"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"imgbuild/cluster"
	"imgbuild/cluster/node"
)

// Joins tells whether a node of the role joins the cluster with a token of its
// own.
func Joins(role cluster.Role) bool { return role == cluster.RoleWorker || role == cluster.RoleRook }

// TokenManifest is the Secret that makes the node's token known to a cluster
// until it expires:
// https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/#bootstrap-token-secret-format
// Masters make the same one by themselves for the nodes that their own configs
// name.
func TokenManifest(c *cluster.Cluster, n cluster.Node, s Secrets, expires time.Time) ([]byte, error) {
	token, err := node.Token(string(s.CA.Key), c.Name, n.Name)
	if err != nil {
		return nil, fmt.Errorf("make the token of %s: %w", n.Name, err)
	}
	id, secret, _ := strings.Cut(token, ".")
	out, err := yaml.Marshal(tokenSecret{
		APIVersion: "v1",
		Kind:       "Secret",
		Metadata:   objectName{"bootstrap-token-" + id, "kube-system"},
		Type:       "bootstrap.kubernetes.io/token",
		StringData: tokenData{
			Description: "the token of node " + n.Name,
			ID:          id,
			Secret:      secret,
			Expiration:  expires.UTC().Format(time.RFC3339),
			// To sign cluster-info, which the node checks, and to ask for a
			// certificate.
			Signing:        "true",
			Authentication: "true",
			Groups:         "system:bootstrappers:kubeadm:default-node-token",
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the token of %s: %w", n.Name, err)
	}
	return out, nil
}

type tokenSecret struct {
	APIVersion string     `yaml:"apiVersion"`
	Kind       string     `yaml:"kind"`
	Metadata   objectName `yaml:"metadata"`
	Type       string     `yaml:"type"`
	StringData tokenData  `yaml:"stringData"`
}

type objectName struct {
	Name      string `yaml:"name"`
	Namespace string `yaml:"namespace"`
}

type tokenData struct {
	Description    string `yaml:"description"`
	ID             string `yaml:"token-id"`
	Secret         string `yaml:"token-secret"`
	Expiration     string `yaml:"expiration"`
	Signing        string `yaml:"usage-bootstrap-signing"`
	Authentication string `yaml:"usage-bootstrap-authentication"`
	Groups         string `yaml:"auth-extra-groups"`
}
