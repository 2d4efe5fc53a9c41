package ignition

import (
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"time"

	"gopkg.in/yaml.v3"

	"imgbuild/cluster"
)

// Names in the administrator's kubeconfig.
const (
	adminUser = "imgbuild-admin"
	// adminGroup is bound to everything by the API server itself.
	adminGroup = "system:masters"
)

// AdminKubeconfig is a kubeconfig with a new client certificate that may do
// everything in the cluster for a year. Whoever holds the secrets can make one,
// so it is not stored anywhere.
func AdminKubeconfig(c *cluster.Cluster, s Secrets) ([]byte, error) {
	now := time.Now()
	subject := pkix.Name{CommonName: adminUser, Organization: []string{adminGroup}}
	client, err := s.CA.issueClient(subject, now, now.AddDate(1, 0, 0))
	if err != nil {
		return nil, fmt.Errorf("make the administrator's certificate of cluster %s: %w", c.Name, err)
	}
	host, port := c.Endpoint()
	user, context := adminUser+"@"+c.Name, adminUser+"@"+c.Name
	config := kubeconfig{
		APIVersion: "v1",
		Kind:       "Config",
		Clusters: []namedCluster{{c.Name, clusterEntry{
			Server: "https://" + net.JoinHostPort(host, strconv.Itoa(port)),
			CA:     []byte(s.CA.Certificate),
		}}},
		Users:          []namedUser{{user, userEntry{[]byte(client.Certificate), []byte(string(client.Key))}}},
		Contexts:       []namedContext{{context, contextEntry{c.Name, user}}},
		CurrentContext: context,
	}
	out, err := yaml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encode the kubeconfig of cluster %s: %w", c.Name, err)
	}
	return out, nil
}

// kubeconfig is the part of client-go's type that is needed here:
// https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
type kubeconfig struct {
	APIVersion     string         `yaml:"apiVersion"`
	Kind           string         `yaml:"kind"`
	Clusters       []namedCluster `yaml:"clusters"`
	Users          []namedUser    `yaml:"users"`
	Contexts       []namedContext `yaml:"contexts"`
	CurrentContext string         `yaml:"current-context"`
}

type namedCluster struct {
	Name    string       `yaml:"name"`
	Cluster clusterEntry `yaml:"cluster"`
}

type clusterEntry struct {
	Server string `yaml:"server"`
	CA     blob   `yaml:"certificate-authority-data"`
}

type namedUser struct {
	Name string    `yaml:"name"`
	User userEntry `yaml:"user"`
}

type userEntry struct {
	Certificate blob `yaml:"client-certificate-data"`
	Key         blob `yaml:"client-key-data"`
}

type namedContext struct {
	Name    string       `yaml:"name"`
	Context contextEntry `yaml:"context"`
}

type contextEntry struct {
	Cluster string `yaml:"cluster"`
	User    string `yaml:"user"`
}

// blob is written as base64.
type blob []byte

// MarshalYAML writes the form that clients read.
func (b blob) MarshalYAML() (any, error) { return base64.StdEncoding.EncodeToString(b), nil }
